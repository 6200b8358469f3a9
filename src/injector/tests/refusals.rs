//! Pods that can have no gate: why, and what to do.

use super::*;

fn mounts(volume: &str) -> Value {
    json!([{ "name": volume, "mountPath": "/x", "readOnly": true }])
}

#[test]
fn every_refusal_says_what_to_do() {
    let out = "or leave this pod without the gate by the label `cloakroom.dev/inject: \"false\"`";
    let port = |port: u64| pod(|pod| pod["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(port));
    for (what, pod, words) in [
        (
            "the node's network",
            pod(|pod| pod["spec"]["hostNetwork"] = json!(true)),
            vec!["spec.hostNetwork: the whole node could ask a gate on its loopback", out],
        ),
        ("the node's processes", pod(|pod| pod["spec"]["hostPID"] = json!(true)), vec!["spec.hostPID:", out]),
        (
            "one space of processes",
            pod(|pod| pod["spec"]["shareProcessNamespace"] = json!(true)),
            vec!["spec.shareProcessNamespace: the other containers could reach into the gate and its keys", out],
        ),
        ("Windows", pod(|pod| pod["spec"]["os"] = json!({ "name": "windows" })), vec!["spec.os.name", "runs on Linux"]),
        (
            "a word nobody knows",
            pod(|pod| pod["metadata"]["labels"][OPT_OUT] = json!("no")),
            vec!["`cloakroom.dev/inject` is `no`: write `\"false\"`"],
        ),
        (
            "its name",
            pod(|pod| pod["spec"]["containers"][0]["name"] = json!("cloakroom")),
            vec!["the container `cloakroom` is not the gate's", "give it another"],
        ),
        (
            "its name, earlier",
            pod(|pod| pod["spec"]["initContainers"] = json!([{ "name": "cloakroom", "image": "x" }])),
            vec!["the container `cloakroom` is not the gate's"],
        ),
        (
            "its name, and the label of one that has it",
            pod(|pod| {
                pod["metadata"]["labels"][INJECTED] = json!("true");
                pod["spec"]["initContainers"] = json!([{ "name": "cloakroom", "image": "x", "args": ["serve"] }]);
            }),
            vec!["the container `cloakroom` is not the gate's"],
        ),
        (
            "its volume",
            pod(|pod| pod["spec"]["volumes"][0]["name"] = json!("cloakroom-run")),
            vec!["the volume `cloakroom-run` is not the gate's", "give it another"],
        ),
        (
            "its keys",
            pod(|pod| pod["spec"]["containers"][0]["volumeMounts"] = mounts("cloakroom-keys")),
            vec!["the container `app` mounts the volume `cloakroom-keys`", "Take the mount away"],
        ),
        (
            "its secrets, earlier",
            pod(|pod| {
                pod["spec"]["initContainers"] = json!([{ "name": "x", "volumeMounts": mounts("cloakroom-secrets") }]);
            }),
            vec!["the container `x` mounts the volume `cloakroom-secrets`"],
        ),
        (
            "its secrets, later",
            pod(|pod| {
                let debug = json!([{ "name": "debug", "volumeMounts": mounts("cloakroom-secrets") }]);
                pod["spec"]["ephemeralContainers"] = debug;
            }),
            vec!["the container `debug` mounts the volume `cloakroom-secrets`"],
        ),
        (
            "its socket, in a pod that has the gate already",
            pod(|pod| {
                pod["metadata"]["labels"][INJECTED] = json!("true");
                pod["spec"]["containers"][0]["volumeMounts"] = mounts("cloakroom-run");
            }),
            vec!["the container `app` mounts the volume `cloakroom-run`"],
        ),
        ("its port for Envoy", port(9443), vec!["the container `app` has the port 9443", "listen elsewhere"]),
        ("its port for key sets", port(9080), vec!["has the port 9080"]),
        ("its port for people", port(9090), vec!["has the port 9090"]),
        ("its port for health", port(9091), vec!["has the port 9091"]),
        ("its port for sessions", port(9081), vec!["has the port 9081"]),
        (
            "its port, in a sidecar",
            pod(|pod| {
                pod["spec"]["initContainers"] =
                    json!([{ "name": "metrics", "restartPolicy": "Always", "ports": [{ "containerPort": 9091 }] }]);
            }),
            vec!["the container `metrics` has the port 9091"],
        ),
        ("no list", pod(|pod| pod["spec"]["volumes"] = json!({})), vec!["volumes is not as in a pod"]),
        ("no spec", pod(|pod| pod["spec"] = json!([])), vec!["spec is not as in a pod"]),
        ("no metadata", pod(|pod| pod["metadata"] = json!("x")), vec!["metadata is not as in a pod"]),
    ] {
        let refusal = inject(&pod, "shop", &settings()).expect_err(what).to_string();
        for word in words {
            assert!(refusal.contains(word), "{what}: {refusal}");
        }
    }
}

#[test]
fn ports_that_are_nobodys_loss() {
    for (what, port, settings) in [
        ("another port", json!({ "containerPort": 9092 }), settings()),
        ("another protocol", json!({ "containerPort": 9443, "protocol": "UDP" }), settings()),
        ("the port that a socket leaves free", json!({ "containerPort": 9443 }), socket()),
    ] {
        let pod = pod(|pod| {
            pod["spec"]["containers"][0]["ports"] = json!([port]);
            pod["spec"]["securityContext"] = json!({ "runAsUser": 101 });
        });
        assert!(inject(&pod, "shop", &settings).is_ok(), "{what}");
    }
}
