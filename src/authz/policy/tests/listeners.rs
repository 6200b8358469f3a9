//! Which namespaces' routes a listener admits.

use super::super::PolicyIndex;
use super::fixture::*;
use super::routes::*;

/// The Gateway with one listener that admits by this.
fn selecting(namespaces: &str) -> String {
    format!("{GATEWAY}  - {{ name: https, port: 443, protocol: HTTPS, allowedRoutes: {{ namespaces: {namespaces} }} }}")
}

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: front, namespace: infra }
spec:
  gatewayClassName: envoy
  listeners:
";

fn namespace(name: &str, labels: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name}, labels: {{ {labels} }} }}")
}

/// A route and a policy on it in each of `shop`, `bank` and `bare`, and their Namespaces.
fn town(namespaces: &str) -> Vec<String> {
    let mut parts = vec![selecting(namespaces)];
    for name in ["shop", "bank", "bare"] {
        parts.push(route(&format!("{name}/site"), &format!("hostnames: [{name}.example]")));
        parts.push(named(&format!("{name}/site"), &on("HTTPRoute", "site")));
    }
    parts.extend([namespace("shop", "team: shop, stage: live"), namespace("bank", "team: bank")]);
    parts.push(namespace("bare", "").replace("labels: {  }", "labels: {}"));
    parts
}

/// The namespaces whose route is admitted.
fn admitted(index: &PolicyIndex) -> String {
    let is_in = |name: &&str| {
        let said = say(&decide(index, &ask(&format!("GET {name}.example/")).cookie(), &active(|_| {})));
        let judged = format!("ada for {name}/site by default");
        assert!(said == judged || said == "403 no_policy", "{said}");
        said == judged
    };
    ["shop", "bank", "bare"].into_iter().filter(is_in).collect::<Vec<_>>().join(" ")
}

#[test]
fn p27_a_selector_admits_the_namespaces_that_have_its_labels() {
    let expression = |it: &str| format!("{{ from: Selector, selector: {{ matchExpressions: [{it}] }} }}");
    let labels = |it: &str| format!("{{ from: Selector, selector: {{ matchLabels: {{ {it} }} }} }}");
    for (namespaces, want) in [
        ("{ from: Selector, selector: {} }".to_owned(), "shop bank bare"),
        (labels("team: shop"), "shop"),
        (labels("team: shop, stage: live"), "shop"),
        (labels("team: bank, stage: live"), ""),
        (labels("kubernetes.io/metadata.name: bare"), "bare"),
        (expression("{ key: team, operator: In, values: [bank, club] }"), "bank"),
        (expression("{ key: team, operator: NotIn, values: [bank, club] }"), "shop bare"),
        (expression("{ key: team, operator: Exists }"), "shop bank"),
        (expression("{ key: team, operator: DoesNotExist }"), "bare"),
        (expression("{ key: team, operator: Exists }, { key: stage, operator: DoesNotExist }"), "bank"),
        (
            "{ from: Selector, selector: { matchLabels: { team: shop }, matchExpressions: [{ key: stage, operator: In, values: [test] }] } }"
                .to_owned(),
            "",
        ),
        // A selector beside another word says nothing.
        ("{ from: Same, selector: {} }".to_owned(), ""),
        ("{ from: All, selector: { matchLabels: { team: shop } } }".to_owned(), "shop bank bare"),
    ] {
        let (index, problems) = compile(&all(&town(&namespaces)));
        assert_eq!(admitted(&index), want, "{namespaces}");
        assert!(problems.iter().all(|it| !it.kind.is_error()), "{problems:?}");
    }
}

#[test]
fn p27_a_selector_that_is_none_admits_nobody_and_says_so() {
    let many = (0..300).map(|i| format!("l{i}: x")).collect::<Vec<_>>().join(", ");
    for (selector, words) in [
        (String::new(), "spec.listeners[https].allowedRoutes.namespaces.selector: `from: Selector` needs it"),
        (", selector: [{ team: shop }]".to_owned(), "selector: is not a selector"),
        (", selector: team".to_owned(), "selector: is not a selector"),
        (", selector: { matchLabel: { team: shop } }".to_owned(), "did you mean `matchLabels`?"),
        (
            ", selector: { matchExpressions: [{ key: team, operator: Has }] }".to_owned(),
            "matchExpressions[0].operator: ",
        ),
        (
            ", selector: { matchExpressions: [{ key: team, operator: NotIn }] }".to_owned(),
            "matchExpressions[0].values: needs a value at least",
        ),
        (
            ", selector: { matchExpressions: [{ key: team, operator: DoesNotExist, values: [a] }] }".to_owned(),
            "matchExpressions[0].values: has no use for values",
        ),
        (format!(", selector: {{ matchLabels: {{ {many} }} }}"), "more than 256 labels and values"),
    ] {
        let (index, problems) = compile(&all(&town(&format!("{{ from: Selector{selector} }}"))));
        assert_eq!(admitted(&index), "", "{selector}");
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|it| it.contains("Gateway infra/front") && it.contains(words)), "{words}\n{said:#?}");
    }
}

#[test]
fn p27_labels_come_and_go_and_unknown_ones_admit_nobody() {
    let parts = town("{ from: Selector, selector: { matchLabels: { team: shop } } }");
    let (before, _) = compile(&all(&parts));
    assert_eq!(admitted(&before), "shop");
    let turned: Vec<String> = parts
        .iter()
        .map(|it| {
            it.replace("team: shop, stage: live", "team: gone")
                .replace("{ name: bank, labels: { team: bank", "{ name: bank, labels: { team: shop")
        })
        .collect();
    let (after, _) = PolicyIndex::compile(&objects(&all(&turned)), &install(), Some(&before));
    assert_eq!(admitted(&after), "bank");
    // One whose Namespace is not there has no labels, also for a selector that wants none.
    let negative = town("{ from: Selector, selector: { matchExpressions: [{ key: team, operator: DoesNotExist }] } }");
    let without: Vec<String> = negative.into_iter().filter(|it| !it.contains("{ name: bare, labels")).collect();
    assert_eq!(admitted(&compile(&all(&without)).0), "");
    // Nobody may see them.
    let mut untold = objects(&all(&parts));
    (untold.namespaces, untold.namespaces_unknown) = (Vec::new(), true);
    let (index, problems) = PolicyIndex::compile(&untold, &install(), Some(&before));
    assert_eq!(admitted(&index), "");
    assert!(problems.iter().any(|it| it.words.contains("policies.kubernetes.namespaceLabels")), "{problems:?}");
}
