//! A socket file: who sees it, and as whom the gate makes it.

use super::*;

fn with(container: Value, pod_wide: Value) -> Value {
    pod(|pod| {
        pod["spec"]["containers"][1]["securityContext"] = container;
        pod["spec"]["securityContext"] = pod_wide;
    })
}

#[test]
fn p30_the_gate_runs_as_its_proxy_and_no_other_container_sees_the_socket() {
    for (container, pod_wide, user) in [
        (json!({ "runAsUser": 101 }), Value::Null, 101),
        (json!({ "runAsUser": 101 }), json!({ "runAsUser": 1000, "fsGroup": 2000 }), 101),
        (Value::Null, json!({ "runAsUser": 1000 }), 1000),
        // The group is one then.
        (Value::Null, json!({ "fsGroup": 2000 }), 65532),
        (json!({ "runAsUser": 0 }), json!({ "fsGroup": 2000 }), 65532),
    ] {
        let after = injected(&with(container.clone(), pod_wide.clone()), &socket());
        let context = &after["spec"]["initContainers"][0]["securityContext"];
        assert_eq!(context["runAsUser"], user, "{container} {pod_wide}");
        assert_eq!(after["spec"]["containers"][0].get("volumeMounts"), None, "the app sees it");
        let mounts = &after["spec"]["containers"][1]["volumeMounts"];
        assert_eq!(*mounts, json!([{ "name": "cloakroom-run", "mountPath": "/run/cloakroom", "readOnly": true }]));
    }
}

#[test]
fn a_proxy_whose_user_nobody_knows_is_refused() {
    for (container, pod_wide, why) in [
        (Value::Null, Value::Null, "who that is is not known"),
        (json!({ "runAsNonRoot": true }), json!({ "runAsNonRoot": true }), "who that is is not known"),
        (json!({ "runAsUser": 0 }), json!({ "runAsUser": 101 }), "the gate does not run as root"),
        (Value::Null, json!({ "fsGroup": 0 }), "who that is is not known"),
    ] {
        let refusal = inject(&with(container, pod_wide), "shop", &socket()).unwrap_err().to_string();
        let cure = "set securityContext.runAsUser (not 0) on it or on the pod, or securityContext.fsGroup on the pod";
        for word in ["the proxy's container `envoy`", why, cure] {
            assert!(refusal.contains(word), "{refusal}");
        }
    }
}

#[test]
fn which_container_the_proxy_is() {
    let user = json!({ "runAsUser": 1000 });
    let two = with(Value::Null, user.clone());
    let told = |name: &str| {
        let mut pod = with(Value::Null, user.clone());
        pod["metadata"]["annotations"] = json!({ PROXY_CONTAINER: name });
        pod
    };
    let native = pod(|pod| {
        pod["spec"]["securityContext"] = user.clone();
        pod["spec"]["containers"] = json!([{ "name": "app", "image": "x" }]);
        pod["spec"]["initContainers"] = json!([
            { "name": "istio-proxy", "restartPolicy": "Always", "securityContext": { "runAsUser": 1337 } },
        ]);
    });
    let none = pod(|pod| pod["spec"]["containers"] = json!([{ "name": "app", "image": "x" }]));
    for (what, pod, want, user) in [
        ("by the settings", two, Some("/spec/containers/1"), 1000),
        ("by the pod", told("app"), Some("/spec/containers/0"), 1000),
        ("a native sidecar", native, Some("/spec/initContainers/1"), 1337),
        ("none yet", none, None, 65532),
        ("one that is not here yet", told("proxy"), None, 65532),
    ] {
        let done = inject(&pod, "shop", &socket()).unwrap();
        let after = injected(&pod, &socket());
        assert_eq!(after["spec"]["initContainers"][0]["securityContext"]["runAsUser"], user, "{what}");
        let mut sees = Vec::new();
        for field in ["initContainers", "containers"] {
            for (at, container) in after["spec"][field].as_array().unwrap().iter().enumerate() {
                if container["name"] != CONTAINER && names(&container["volumeMounts"]).contains(&"cloakroom-run") {
                    sees.push(format!("/spec/{field}/{at}"));
                }
            }
        }
        assert_eq!(sees, want.into_iter().collect::<Vec<_>>(), "{what}");
        assert_eq!(done.warnings.is_empty(), want.is_some(), "{what}: {:?}", done.warnings);
    }
}

#[test]
fn p30_the_proxy_sees_the_socket_as_it_is_given_it_and_not_otherwise() {
    let seen = |mount: Value| {
        pod(|pod| {
            pod["spec"]["securityContext"] = json!({ "runAsUser": 101 });
            pod["spec"]["containers"][1]["volumeMounts"] = json!([mount]);
        })
    };
    let given = json!({ "name": "cloakroom-run", "mountPath": "/run/cloakroom", "readOnly": true });
    assert!(inject(&seen(given.clone()), "shop", &socket()).is_ok());
    for (field, value) in [("readOnly", json!(false)), ("mountPath", json!("/x")), ("subPath", json!("gate"))] {
        let mut other = given.clone();
        other[field] = value;
        let refusal = inject(&seen(other), "shop", &socket()).unwrap_err().to_string();
        assert!(refusal.contains("the container `envoy` mounts the volume `cloakroom-run`"), "{field}: {refusal}");
    }
}

#[test]
fn another_mount_in_the_sockets_place_is_refused() {
    let pod = pod(|pod| {
        pod["spec"]["securityContext"] = json!({ "runAsUser": 101 });
        pod["spec"]["containers"][1]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/run/cloakroom" }]);
    });
    let refusal = inject(&pod, "shop", &socket()).unwrap_err().to_string();
    assert!(refusal.contains("the container `envoy` mounts something else at /run/cloakroom"), "{refusal}");
}

/// A container of the user that is added after us, as another webhook does it, is found when we are asked again.
#[test]
fn a_proxy_that_comes_later_is_given_the_socket() {
    let mut pod = pod(|pod| pod["spec"]["containers"] = json!([{ "name": "app", "image": "x" }]));
    pod = injected(&pod, &socket());
    let proxy = json!({ "name": "istio-proxy", "image": "x", "securityContext": { "runAsUser": 1337 } });
    pod["spec"]["containers"].as_array_mut().unwrap().insert(0, proxy);
    let after = injected(&pod, &socket());
    assert_eq!(after["spec"]["initContainers"][0]["securityContext"]["runAsUser"], 1337);
    assert_eq!(names(&after["spec"]["containers"][0]["volumeMounts"]), ["cloakroom-run"]);
}
