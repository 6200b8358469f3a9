//! Beside Istio's injector. What it does to a pod is written here after its own templates, native and classic.

use super::*;

/// What Istio makes of a pod: its containers come first, and it sends the kubelet's questions through its agent.
fn istio(pod: &mut Value, is_native: bool) {
    let told = pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"].as_str();
    let mut left_alone = "15090,15021".to_owned();
    if let Some(ports) = told.filter(|it| !it.is_empty()) {
        left_alone = format!("{left_alone},{ports}");
    }
    for container in pod["spec"]["initContainers"].as_array_mut().into_iter().flatten() {
        for (probe, path) in [("startupProbe", "startupz"), ("readinessProbe", "readyz")] {
            if container[probe].is_object() {
                let path = format!("/app-health/{}/{path}", container["name"].as_str().unwrap());
                container[probe]["httpGet"] = json!({ "path": path, "port": 15020 });
            }
        }
    }
    let spec = &mut pod["spec"];
    if spec["initContainers"].is_null() {
        spec["initContainers"] = json!([]);
    }
    let proxy = json!({
        "name": "istio-proxy",
        "image": "istio/proxyv2",
        "args": ["proxy", "sidecar"],
        "ports": [{ "name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP" }],
        "readinessProbe": { "httpGet": { "path": "/healthz/ready", "port": 15021 } },
        "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 },
    });
    if is_native {
        let mut proxy = proxy;
        proxy["restartPolicy"] = json!("Always");
        spec["initContainers"].as_array_mut().unwrap().insert(0, proxy);
    } else {
        spec["containers"].as_array_mut().unwrap().insert(0, proxy);
    }
    let sets_up = json!({
        "name": "istio-init",
        "image": "istio/proxyv2",
        "args": ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-x", "", "-b", "*", "-d", left_alone],
    });
    spec["initContainers"].as_array_mut().unwrap().insert(0, sets_up);
    spec["volumes"].as_array_mut().unwrap().push(json!({ "name": "istio-envoy", "emptyDir": { "medium": "Memory" } }));
    pod["metadata"]["annotations"]["sidecar.istio.io/status"] = json!("{}");
}

#[test]
fn p35_either_order_ends_in_the_same_pod() {
    let before = pod(|pod| {
        pod["metadata"]["annotations"] = json!({});
        pod["spec"]["containers"] = json!([{ "name": "app", "image": "shop" }]);
    });
    for settings in [settings(), socket()] {
        for is_native in [true, false] {
            let mut istio_first = before.clone();
            istio(&mut istio_first, is_native);
            defaulted(&mut istio_first);
            let istio_first = injected(&istio_first, &settings);

            // The API server asks us again, since Istio has changed what we left.
            let mut istio_last = injected(&before, &settings);
            istio(&mut istio_last, is_native);
            defaulted(&mut istio_last);
            let istio_last = injected(&istio_last, &settings);

            let want: &[&str] = match is_native {
                true => &["cloakroom", "istio-init", "istio-proxy"],
                false => &["cloakroom", "istio-init"],
            };
            for (order, pod) in [("Istio first", &istio_first), ("Istio last", &istio_last)] {
                assert_eq!(names(&pod["spec"]["initContainers"]), want, "{order}");
                let gate = &pod["spec"]["initContainers"][0];
                // Its agent is not there yet when they are asked first.
                assert_eq!(gate["startupProbe"]["httpGet"]["port"], 9091, "{order}");
                assert_eq!(gate["readinessProbe"]["httpGet"]["port"], 9091, "{order}");
                let args = pod["spec"]["initContainers"][1]["args"].as_array().unwrap();
                let ports: Vec<_> = args.last().unwrap().as_str().unwrap().split(',').collect();
                assert!(ports.contains(&"9091") && ports.contains(&"15021"), "{order}: {ports:?}");
                let again = inject(pod, "shop", &settings).unwrap().patch;
                assert_eq!(again, Vec::<Value>::new(), "{order}: a third look changes something");
                let proxy = match is_native {
                    true => &pod["spec"]["initContainers"][2],
                    false => &pod["spec"]["containers"][0],
                };
                let sees = names(&proxy["volumeMounts"]).contains(&"cloakroom-run");
                assert_eq!(sees, settings.listen == GateAddress::Socket, "{order}");
            }
            let sorted = |pod: &Value| {
                let mut volumes: Vec<String> =
                    names(&pod["spec"]["volumes"]).iter().map(|it| (*it).to_owned()).collect();
                volumes.sort();
                volumes
            };
            assert_eq!(sorted(&istio_first), sorted(&istio_last));
        }
    }
}

#[test]
fn ports_that_a_pod_leaves_out_itself_stay_left_out() {
    let annotation = "traffic.sidecar.istio.io/excludeInboundPorts";
    for (told, want) in
        [("", "9091"), ("8081", "8081,9091"), ("9091", "9091"), ("8081, 9091", "8081, 9091"), ("19091", "19091,9091")]
    {
        let pod = pod(|pod| pod["metadata"]["annotations"] = json!({ annotation: told }));
        assert_eq!(injected(&pod, &settings())["metadata"]["annotations"][annotation], want, "{told}");
    }
}
