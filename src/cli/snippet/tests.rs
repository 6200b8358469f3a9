//! What the command prints, and what it refuses.

use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    args: SnippetArgs,
}

fn printed(words: &[&str]) -> anyhow::Result<String> {
    let args = Alone::try_parse_from([&["snippet"], words].concat())?.args;
    let mut out = Vec::new();
    write(&pieces(args)?, &mut out)?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn what_is_printed_can_be_applied() {
    for (words, kinds) in [
        (&["istio"][..], &["ServiceEntry", "DestinationRule", "EnvoyFilter", "AuthorizationPolicy"][..]),
        (
            &["istio", "--gateway", "infra/public", "-n", "shop"],
            &["Role", "RoleBinding", "DestinationRule", "EnvoyFilter", "AuthorizationPolicy", "RequestAuthentication"],
        ),
        (
            &[
                "envoy-gateway",
                "--gateway",
                "infra/public",
                "--gateway",
                "infra/internal",
                "--trailers-of",
                "infra/public/https",
            ],
            &[
                "Backend",
                "ClientTrafficPolicy",
                "EnvoyExtensionPolicy",
                "SecurityPolicy",
                "ClientTrafficPolicy",
                "EnvoyExtensionPolicy",
                "SecurityPolicy",
                "EnvoyPatchPolicy",
            ],
        ),
        (&["gateway-api", "-n", "shop"], &["BackendTLSPolicy", "ReferenceGrant"]),
        (&["envoy", "-n", "shop", "--config-map", "cloakroom-envoy"], &["ConfigMap"]),
    ] {
        let text = printed(words).unwrap();
        let documents: Vec<serde_json::Value> = text
            .split("\n---\n")
            .map(|it| serde_saphyr::from_str(it).unwrap())
            .filter(|it: &serde_json::Value| !it.is_null())
            .collect();
        let found: Vec<&str> = documents.iter().map(|it| it["kind"].as_str().unwrap()).collect();
        assert_eq!(found, kinds, "{words:?}");
        if words[0] == "istio" {
            assert!(text.contains("#   - name: cloakroom\n#     envoyExtAuthzGrpc:"), "{text}");
        }
        assert!(text.lines().all(|line| !line.starts_with("# ") || line.len() <= 160), "{text}");
    }
}

#[test]
fn names_come_from_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloakroom.yaml");
    let config =
        "jwt: { issuer: https://cloakroom.example, header: x-user-jwt }\ntoken: { carriers: [{ header: x-ticket }] }\n";
    std::fs::write(&file, config).unwrap();
    let text = printed(&["istio", "-n", "shop", "--config", file.to_str().unwrap()]).unwrap();
    for part in [
        "regex: \"x[^a-z0-9](session[^a-z0-9].*|user[^a-z0-9]jwt)\"",
        "issuer: https://cloakroom.example/ns/shop",
        "- name: x-user-jwt",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_both_names() {
    for (words, want) in [
        (&["istio", "--shape", "shared"][..], "add --gateway NAMESPACE/NAME"),
        (&["istio", "--shape", "sidecar", "--gateway", "a/b"], "leave --gateway out"),
        (&["istio", "--gateway", "public"], "write NAMESPACE/NAME"),
        (&["istio", "--exchange-header", "a|b"], "letters, digits"),
        (&["istio", "--config", "/nonexistent.yaml"], "cannot read"),
        (&["linkerd"], "possible values"),
        (&["envoy-gateway"], "add --gateway NAMESPACE/NAME"),
        (&["envoy-gateway", "--gateway", "a/b", "--trailers-of", "a/b"], "write NAMESPACE/GATEWAY/LISTENER"),
        (&["gateway-api", "--shape", "sidecar"], "leave --shape sidecar out"),
        (&["envoy", "--gateway", "a/b"], "leave --gateway out"),
        (&["envoy", "--gate", "10.0.0.1:9443"], "--shape shared"),
        (&["envoy", "--upstream", "127.0.0.1:8081"], "write NAME=HOST:PORT"),
        (&["envoy", "--upstream", "cloakroom=127.0.0.1:8081"], "the gate's own name"),
        (&["envoy", "--upstream", "shop=127.0.0.1:8081/a/"], "is not a path prefix"),
        (&["envoy", "--upstream", "shop=127.0.0.1:8081/a\"b"], "is not a path prefix"),
        (&["envoy", "--tls-key", "k.pem"], "--tls-certificate"),
        (&["envoy", "--config-map", "envoy"], "say --namespace once"),
    ] {
        let error = printed(words).unwrap_err().to_string();
        assert!(error.contains(want), "{words:?}: {error}");
    }
}
