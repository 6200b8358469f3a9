//! Pods and what becomes of them. `tests/kube/injection.rs` has a real API server.

mod istio;
mod refusals;
mod sockets;

use super::*;

/// What the tests inject.
pub(super) fn settings() -> Injection {
    let quantities =
        |written: &[(&str, &str)]| written.iter().map(|(name, it)| ((*name).into(), (*it).into())).collect();
    Injection {
        image: "registry.example/cloakroom@sha256:0a".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        listen: GateAddress::Loopback,
        proxy_containers: ["envoy", "istio-proxy"].map(str::to_owned).to_vec(),
        resources: Resources {
            requests: quantities(&[("cpu", "10m"), ("memory", "32Mi")]),
            limits: quantities(&[("memory", "256Mi")]),
        },
        spared: ["kube-system".to_owned()].into(),
    }
}

pub(super) fn socket() -> Injection {
    Injection { listen: GateAddress::Socket, ..settings() }
}

/// A pod as a ReplicaSet makes it, with what `change` changes.
pub(super) fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "generateName": "shop-7d4b9c-", "labels": { "app": "shop" } },
        "spec": {
            "containers": [
                { "name": "app", "image": "shop", "ports": [{ "containerPort": 8080 }] },
                { "name": "envoy", "image": "envoy", "ports": [{ "containerPort": 10000, "protocol": "TCP" }] },
            ],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    });
    change(&mut pod);
    pod
}

/// The pod as it is stored after one look at it.
pub(super) fn injected(pod: &Value, settings: &Injection) -> Value {
    let patch = inject(pod, "shop", settings).unwrap().patch;
    let mut stored = pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(json!(patch)).unwrap();
    json_patch::patch(&mut stored, &patch).unwrap();
    stored
}

pub(super) fn names(containers: &Value) -> Vec<&str> {
    containers.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect()
}

/// What an API server adds to what it stores.
pub(super) fn defaulted(pod: &mut Value) {
    for field in ["initContainers", "containers"] {
        for container in pod["spec"][field].as_array_mut().into_iter().flatten() {
            container["terminationMessagePath"] = json!("/dev/termination-log");
            container["terminationMessagePolicy"] = json!("File");
            for probe in ["startupProbe", "readinessProbe"] {
                if container[probe].is_object() {
                    container[probe]["successThreshold"] = json!(1);
                    container[probe]["httpGet"]["scheme"] = json!("HTTP");
                }
            }
        }
    }
    for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
        if volume["configMap"].is_object() {
            volume["configMap"]["defaultMode"] = json!(420);
        }
        let items = volume.pointer_mut("/downwardAPI/items").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            item["fieldRef"]["apiVersion"] = json!("v1");
        }
    }
}

#[test]
fn a_pod_gets_the_gate_first_and_what_it_needs() {
    let before = pod(|_| {});
    let after = injected(&before, &settings());
    let gate = &after["spec"]["initContainers"][0];
    assert_eq!(names(&after["spec"]["initContainers"]), ["cloakroom"]);
    assert_eq!(gate["image"], "registry.example/cloakroom@sha256:0a");
    assert_eq!(gate["restartPolicy"], "Always");
    assert_eq!(gate["args"], json!(["serve", "--config", "/etc/cloakroom/config/cloakroom.yaml"]));
    assert_eq!(gate["startupProbe"]["httpGet"], json!({ "path": "/livez", "port": 9091 }));
    assert_eq!(gate["readinessProbe"]["httpGet"], json!({ "path": "/readyz", "port": 9091 }));
    assert!(["startupProbe", "readinessProbe"].iter().all(|it| gate[it]["timeoutSeconds"] == 3));
    assert_eq!(gate["resources"]["limits"], json!({ "memory": "256Mi" }));
    let mounts = gate["volumeMounts"].as_array().unwrap();
    let volumes = names(&after["spec"]["volumes"]);
    let ours =
        ["cloakroom-config", "cloakroom-keys", "cloakroom-secrets", "cloakroom-pod", "cloakroom-run", "cloakroom-api"];
    assert_eq!(volumes[0], "data");
    assert_eq!(volumes[1..], ours);
    assert_eq!(names(&gate["volumeMounts"]), ours);
    for mount in mounts {
        assert_eq!(mount["readOnly"] == true, mount["name"] != "cloakroom-run", "{mount}");
    }
    assert_eq!(after["metadata"]["labels"]["cloakroom.dev/injected"], "true");
    assert_eq!(after["metadata"]["labels"]["app"], "shop");
    assert_eq!(
        after["metadata"]["annotations"]["cloakroom.dev/injected-image"],
        "registry.example/cloakroom@sha256:0a"
    );
    // All else is as it was.
    assert_eq!(after["spec"]["containers"], before["spec"]["containers"]);
    assert_eq!(after["metadata"]["generateName"], before["metadata"]["generateName"]);
}

#[test]
fn p35_the_gate_is_as_pod_security_restricted_wants_it() {
    for settings in [settings(), socket()] {
        let pod = pod(|pod| pod["spec"]["securityContext"] = json!({ "runAsUser": 101 }));
        let after = injected(&pod, &settings);
        let security = &after["spec"]["initContainers"][0]["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_ne!(security["runAsUser"], 0);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
        assert_eq!(security["seccompProfile"], json!({ "type": "RuntimeDefault" }));
        assert_eq!(after["spec"]["securityContext"], pod["spec"]["securityContext"], "the pod's own is not ours");
        for volume in after["spec"]["volumes"].as_array().unwrap() {
            let kinds = ["configMap", "downwardAPI", "emptyDir", "projected", "secret"];
            assert!(kinds.iter().any(|kind| volume[kind].is_object()), "{volume}");
        }
    }
}

#[test]
fn who_is_left_alone() {
    let label = |value: &str| pod(|pod| pod["metadata"]["labels"][OPT_OUT] = json!(value));
    let mirror = pod(|pod| pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" }));
    let shared = pod(|pod| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["metadata"]["labels"][OPT_OUT] = json!("false");
    });
    for (what, pod, namespace, is_injected) in [
        ("a pod", pod(|_| {}), "shop", true),
        ("one that says so", label("true"), "shop", true),
        ("one without metadata", pod(|pod| pod["metadata"] = json!({})), "shop", true),
        ("one that is out", label("false"), "shop", false),
        ("one on the node's network that is out", shared, "shop", false),
        ("one of the cluster", pod(|_| {}), "kube-system", false),
        ("one of the install", pod(|_| {}), "cloakroom-system", false),
        ("the mirror of a static one", mirror, "shop", false),
    ] {
        let settings = settings().sparing("cloakroom-system");
        let done = inject(&pod, namespace, &settings).unwrap();
        assert_eq!(!done.patch.is_empty(), is_injected, "{what}");
        assert!(done.warnings.is_empty(), "{what}");
    }
}

#[test]
fn a_second_look_changes_nothing() {
    for settings in [settings(), socket()] {
        let mut once = injected(&pod(|pod| pod["spec"]["securityContext"] = json!({ "fsGroup": 2000 })), &settings);
        assert_eq!(inject(&once, "shop", &settings).unwrap().patch, Vec::<Value>::new());
        defaulted(&mut once);
        // Others add to what is there, a LimitRange among them.
        once["spec"]["initContainers"].as_array_mut().unwrap().push(json!({ "name": "warm-up", "image": "x" }));
        once["spec"]["initContainers"][0]["resources"]["limits"]["cpu"] = json!("1");
        assert_eq!(inject(&once, "shop", &settings).unwrap().patch, Vec::<Value>::new());
    }
}

#[test]
fn what_was_ours_is_put_right() {
    let mut once = injected(&pod(|_| {}), &settings());
    let init = once["spec"]["initContainers"].as_array_mut().unwrap();
    // Another image, another place, another right: a pod that was copied from a running one, or that others have changed.
    init[0]["image"] = json!("registry.example/cloakroom@sha256:00");
    init[0]["securityContext"]["runAsUser"] = json!(0);
    init.insert(0, json!({ "name": "warm-up", "image": "x" }));
    once["spec"]["volumes"][1]["configMap"]["name"] = json!("other");
    let again = injected(&once, &settings());
    assert_eq!(names(&again["spec"]["initContainers"]), ["cloakroom", "warm-up"]);
    assert_eq!(again["spec"]["initContainers"][0], injected(&pod(|_| {}), &settings())["spec"]["initContainers"][0]);
    assert_eq!(again["spec"]["volumes"][1]["configMap"]["name"], "cloakroom-gate");
    assert_eq!(names(&again["spec"]["volumes"]).len(), 7);
}

#[test]
fn p31_what_was_added_to_the_gate_is_taken_off() {
    let right = injected(&pod(|_| {}), &settings());
    for (at, value) in [
        ("/command", json!(["sh", "-c", "cat /etc/cloakroom/secrets/*"])),
        ("/env", json!([{ "name": "RUST_LOG", "value": "trace" }])),
        ("/envFrom", json!([{ "configMapRef": { "name": "x" } }])),
        ("/lifecycle", json!({ "postStart": { "exec": { "command": ["sh"] } } })),
        ("/livenessProbe", json!({ "exec": { "command": ["sh"] } })),
        ("/terminationMessagePath", json!("/etc/cloakroom/secrets/token.key")),
        ("/securityContext/privileged", json!(true)),
        ("/volumeMounts/0/subPath", json!("x")),
        ("/volumeMounts/6", json!({ "name": "data", "mountPath": "/etc/ssl" })),
    ] {
        let mut changed = right.clone();
        let add = json!([{ "op": "add", "path": format!("/spec/initContainers/0{at}"), "value": value }]);
        let add: json_patch::Patch = serde_json::from_value(add).unwrap();
        json_patch::patch(&mut changed, &add).unwrap();
        assert_ne!(changed, right, "{at}");
        assert_eq!(injected(&changed, &settings()), right, "{at}");
    }
    let mut moved = right.clone();
    moved["spec"]["volumes"][3]["secret"]["items"] = json!([{ "key": "admin.token", "path": "token.key" }]);
    assert_eq!(injected(&moved, &settings()), right);
}

#[test]
fn a_pod_of_a_job_ends_when_its_work_is_done() {
    let job = pod(|pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["initContainers"] = json!([{ "name": "fetch", "image": "x" }]);
    });
    let after = injected(&job, &settings());
    assert_eq!(names(&after["spec"]["initContainers"]), ["cloakroom", "fetch"]);
    assert_eq!(after["spec"]["restartPolicy"], "Never");
    // Only a native sidecar does not keep it from its end.
    assert_eq!(after["spec"]["initContainers"][0]["restartPolicy"], "Always");
}
