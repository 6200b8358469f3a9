//! What a folder may hold, and what is said about the rest.

use super::*;

#[test]
fn every_policy_file_below_counts_and_nothing_else() {
    let dir = Dir::new();
    dir.write("a.yaml", &public("a", "r"))
        .write("deep/er/b.yml", &public("b", "r"))
        .write("notes.txt", "not: [yaml")
        .write("c.yaml.bak", "not: [yaml")
        .write(".hidden.yaml", "not: [yaml")
        .write("..2026_11_24/d.yaml", "not: [yaml")
        .write("empty.yaml", "")
        .write("comment.yaml", "# nothing yet\n---\n# nor here\n");
    assert_eq!(names(&dir.read().unwrap()), ["default/a", "default/b"]);
}

#[test]
fn a_file_holds_several_documents() {
    let dir = Dir::new();
    let text = format!(
        "# the shop\n---\n{}---\n\n---   # the blog\n{}...\n---\n{}",
        public("a", "r"),
        public("b", "r"),
        public("c", "r")
    );
    dir.write("all.yaml", &text).write("windows.yaml", &format!("\u{feff}{}", public("d", "r").replace('\n', "\r\n")));
    let found = dir.read().unwrap();
    assert_eq!(names(&found), ["default/a", "default/b", "default/c", "default/d"]);
    let origins: Vec<_> =
        found.objects.policies.iter().map(|it| it.origin.to_string().rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(origins, ["all.yaml:3", "all.yaml:12", "all.yaml:20", "windows.yaml:1"]);
}

#[test]
fn all_kinds_of_objects_are_found() {
    let dir = Dir::new();
    let object = |version: &str, kind: &str, spec: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: x }}\nspec: {spec}\n---\n")
    };
    let gateway = "gateway.networking.k8s.io/v1";
    dir.write(
        "all.yaml",
        &[
            object(
                gateway,
                "HTTPRoute",
                "{ parentRefs: [{ name: front }], rules: [{ backendRefs: [{ name: shop, port: 80 }] }] }",
            ),
            object(gateway, "GRPCRoute", "{ rules: [{ matches: [{ method: { service: a.B } }] }] }"),
            object(
                gateway,
                "Gateway",
                "{ gatewayClassName: x, listeners: [{ name: http, port: 80, protocol: HTTP }] }",
            ),
            object("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", "{ from: [], to: [] }"),
            "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { team: shop } }\n---\n".to_owned(),
            "apiVersion: v1\nkind: Secret\nmetadata: { name: x }\ndata: { key: aGk= }\n---\n".to_owned(),
            object("cloakroom.dev/v1alpha1", "IdentityProvider", "{ jwt: {} }"),
        ]
        .concat(),
    );
    let found = dir.read().unwrap();
    let objects = &found.objects;
    let counts = [
        objects.http_routes.len(),
        objects.grpc_routes.len(),
        objects.gateways.len(),
        objects.reference_grants.len(),
        objects.namespaces.len(),
        objects.secrets.len(),
        objects.identity_providers.len(),
    ];
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(objects.secrets[0].object.get("key").map(|value| value.reveal()), Some(&b"hi"[..]));
    // It reads as an object, and not as a provider: its own trouble, told when it is compiled.
    assert!(objects.identity_providers[0].object.body.is_err());
}

#[test]
fn a_file_that_does_not_read_is_told_with_its_line_and_cure() {
    let head = "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: { name: a }\n";
    for (text, want) in [
        (
            "# one\n- a\n".to_owned(),
            "a.yaml:2: an object is expected, with `apiVersion`, `kind`, `metadata` and `spec`",
        ),
        ("\nname: a\n".to_owned(), "a.yaml:2: an object needs `apiVersion` and `kind`, both texts"),
        ("apiVersion: v1\nkind: [a]\n".to_owned(), "a.yaml:1: an object needs `apiVersion` and `kind`, both texts"),
        (head.replace("AuthPolicy", "AuthPolcy"), "a.yaml:1: unknown kind `AuthPolcy`: did you mean `AuthPolicy`?"),
        (
            head.replace("AuthPolicy", "Deployment"),
            "a.yaml:1: unknown kind `Deployment`: this folder is for `AuthPolicy`, `IdentityProvider`, `HTTPRoute`, `GRPCRoute`, `Gateway`, `ReferenceGrant`, `Namespace` and `Secret`",
        ),
        (
            head.replace("AuthPolicy", "HTTPRoute"),
            "a.yaml:1: HTTPRoute is of `gateway.networking.k8s.io/v1`, not of `cloakroom.dev/v1alpha1`",
        ),
        (head.replace("name: a", "nam: a"), "a.yaml:1: metadata: missing field `name`"),
        (
            head.replace("name: a", "name: A"),
            "a.yaml:1: metadata.name: \"A\" is not a name: write 1 to 253 of a-z, 0-9, - and ., with a letter or digit at both ends",
        ),
        (head.to_owned(), "a.yaml:1: missing field `spec`"),
        // Nobody knows what it was meant to judge, so nothing could be closed in its place.
        (
            format!("{head}spec: {{ host: [a.example] }}\n"),
            "a.yaml:1: spec: unknown field `host`: did you mean `hosts`?",
        ),
        (
            format!("{}---\n{}", public("a", "r"), public("a", "s")),
            "a.yaml:8: AuthPolicy default/a is defined twice, first at a.yaml:1: remove or rename one",
        ),
    ] {
        let dir = Dir::new();
        dir.write("a.yaml", &text);
        assert_eq!(dir.errors(), [want], "{text}");
    }
}

#[test]
fn broken_yaml_is_told_with_its_line() {
    for (text, at) in [
        ("a: b\nc: [d\n", "a.yaml:"),
        ("a: b\na: c\n", "a.yaml:2: "),
        ("# a\n---\nc: d\n\te: f\n", "a.yaml:3: "),
        ("a: *nothing\n", "a.yaml:1: "),
    ] {
        let dir = Dir::new();
        dir.write("a.yaml", text);
        let errors = dir.errors();
        assert!(errors.len() == 1 && errors[0].starts_with(at) && !errors[0].contains('\n'), "{errors:?}");
    }
}

#[test]
fn every_bad_file_is_told_at_once() {
    let dir = Dir::new();
    dir.write("a.yaml", "a: [").write("b.yaml", "kind: x").write("c.yaml", &public("c", "r"));
    assert_eq!(dir.errors().len(), 2);
}

#[test]
fn a_policy_that_does_not_read_closes_what_it_targets() {
    let dir = Dir::new();
    dir.write("a.yaml", &public("a", "r").replace("Public", "Pubic")).write("b.yaml", &public("b", "r"));
    let (index, problems) = check(&[dir.path()], &install()).unwrap();
    assert_eq!(judged(&index, "a.example"), "broken_policy");
    assert_eq!(judged(&index, "b.example"), "r");
    let said = problems[0].to_string();
    assert!(
        said.ends_with("a.yaml:1: AuthPolicy default/a: spec.rules[0].access: unknown value `Pubic`: did you mean `Public`? (until it is right, everything it targets is refused)"),
        "{said}"
    );
}

#[test]
fn p28_files_are_bounded() {
    let dir = Dir::new();
    dir.write("big.yaml", &"#".repeat(1024 * 1024 + 1));
    assert_eq!(dir.errors(), ["big.yaml: is over 1048576 bytes: divide it into several files"]);

    let dir = Dir::new();
    dir.write("deep.yaml", &format!("a: {}{}", "[".repeat(200), "]".repeat(200)));
    assert_eq!(dir.errors().len(), 1);

    let dir = Dir::new();
    dir.write("1/2/3/4/5/6/7/8/9/a.yaml", "");
    assert!(dir.errors()[0].contains("more than 8 folders deep"), "{:?}", dir.errors());

    let dir = Dir::new();
    std::os::unix::fs::symlink(".", dir.path().join("again")).unwrap();
    assert!(dir.errors()[0].contains("more than 8 folders deep"), "{:?}", dir.errors());

    let dir = Dir::new();
    fs::write(dir.path().join("latin.yaml"), b"# one\n# caf\xe9\n").unwrap();
    assert_eq!(dir.errors(), ["latin.yaml:2: is not UTF-8 text"]);

    let dir = Dir::new();
    std::os::unix::net::UnixListener::bind(dir.path().join("socket.yaml")).unwrap();
    assert_eq!(dir.errors(), ["socket.yaml: is not a file"]);
}

#[test]
fn p28_aliases_do_not_multiply() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    let dir = Dir::new();
    dir.write("bomb.yaml", &text);
    assert_eq!(dir.errors().len(), 1);
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let FolderError(errors) = read(&[PathBuf::from("/nowhere/policies")]).expect_err("no such folder");
    assert!(errors[0].to_string().starts_with("/nowhere/policies: cannot be read: "), "{}", errors[0]);
}

#[test]
fn single_files_can_be_checked() {
    let dir = Dir::new();
    dir.write("a.yaml", &public("a", "r")).write("b.yaml", "a: [");
    let (index, problems) = check(&[dir.path().join("a.yaml")], &install()).unwrap();
    assert_eq!((index.policies(), problems.len()), (1, 0));
    assert!(check(&[dir.path().join("b.yaml")], &install()).is_err());
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn p29_no_text_panics_or_half_reads(parts in prop::collection::vec(
            prop_oneof![
                Just(public("a", "r")),
                Just("---\n".to_owned()),
                Just("kind: AuthPolicy\n".to_owned()),
                "[ -~\n]{0,40}",
                "\\PC{0,20}",
            ], 0..6,
        )) {
            let mut gathering = super::super::super::document::Gathering::default();
            let mut errors = Vec::new();
            gathering.add_file(Path::new("a.yaml"), &parts.concat(), &mut errors);
            prop_assert!(gathering.found.objects.policies.len() <= parts.len());
        }
    }
}

#[test]
fn the_example_of_providers_is_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers.yaml");
    let (index, problems) = check(&[file], &install()).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    let names: Vec<_> = index.named_providers().map(|provider| provider.name.to_string()).collect();
    assert_eq!(names, ["shop/company", "shop/partners"]);
}
