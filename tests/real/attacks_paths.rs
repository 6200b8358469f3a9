//! Paths, methods and hosts: no careless reading of what arrives may be one that the sender was not allowed (P3, P4), and
//! ordinary odd-looking requests pass with their bytes unchanged.

use anyhow::{Result, ensure};
use e2e::http1::exchange;
use e2e::http2;
use e2e::tools::EnvoyVersion;

use crate::attacks::{HOST, Shot, Town, Wall, Who, Wire};
use crate::on_each_envoy;

on_each_envoy! {
    p03_no_wrong_reading_of_a_path_is_served => paths;
    p03_no_wrong_reading_of_a_random_request_is_served => random;
    p03_ordinary_odd_requests_pass_unchanged => ordinary;
    p03_a_host_has_one_reading => hosts;
    p04_overrides_do_not_reach_another_rule => overrides;
}

/// Ways to write `..`, some of them wrong.
const UP: &str = "
    .. %2e%2e .%2E %2e. %252e%252e .%252e ..; ..;x=1 %2e%2e; ..%3b ..%00 ..%20 ..%09 %20.. ..%C2%A0 %c0%ae%c0%ae
    %e0%80%ae%e0%80%ae %u002e%u002e %EF%BC%8E%EF%BC%8E ... .%0d.";

/// Ways to write `/`.
const SLASH: &str = "
    / // /./ %2f %2F %5c \\ %252f %255C %c0%af %c1%9c %e0%80%af %u002f %EF%BC%8F ;/";

/// Everything else about a path that one server or another reads in its own way. `{}` is the path that is not allowed.
const TRICKS: &str = "
    /{} //{} ///{} /./{} /x/../{} /%2f{} /%2F/{} /%5c{} /\\{} \\{} /;/{} /;x=1/{} /.;/{} /%20/{} /%09/{} /%00/{}
    /%2e/{} /%252e/{} /%ef%bb%bf{} /%E2%80%8B{} /{}; /{};x=1 /{};x/y /{}%3b /{}%3bx /{}%253bx /{}. /{}./x /{}.. /{}%2e
    /{}%20 /{}%20/x /{}%09 /{}%0a /{}%0d /{}%0d%0a /{}%00 /{}%00.css /{}%2500 /{}%01 /{}%7f /{}%C2%A0 /{}%E3%80%80
    /{}%2f /{}%2fx /{}%252fx /{}%5cx /{}\\x /{}//x /{}/ /{}/. /{}/..;/{} /{}%3f /{}%3fx=1 /{}%253f /{}? /{}?/public
    /{}.json /{}.json/ /{}.json// /{}.x/ /{}%2ejson /{}%2ejson/ /{}%252ejson%2f /{}.json%2f /{}.json; /{}.json;/ /{}.json./
    /{}.json%20/ /{}%20.json /{}.tar.gz /{}.tar.gz/ /{}.json/. /{}.json%3fx /{}..json/ /{}./.json/
    /{}%23 /{}# /{}#/../public /{}%2523x /{}% /{}%2 /{}%zz /{}%%32%66 /public#/../{} /public/#/../../{}
    /public?/../../{} /public%3f/../{} /public%23/../{} /public;/../{} /public%3b/../{} /public/;/../../{}
    /public\t/../{} /public%09/../{} /public\u{b}{} /public/x/../../{} /public/%2e%2e%2f{} /public/..%2f..%2f{}
    /public/..%255c{} /public/.%2e/{} /public/x%2f..%2f..%2f{} /public/....//{} /public/..../{} /hello/../{}
    /hello%2f..%2f{} /hello;/../{} /hello/..;/{} /items/..%2f{} /items//../../{} * {} ?/{} #/{}";

/// Ways to write a name so that some server takes it for `admin`.
fn spellings(name: &str) -> Vec<String> {
    let first = name.as_bytes()[0];
    let rest = &name[1..];
    let capital = first.to_ascii_uppercase();
    let all_encoded = |lower: bool| -> String {
        let encode = |byte| if lower { format!("%{byte:02x}") } else { format!("%{byte:02X}") };
        name.bytes().map(encode).collect()
    };
    vec![
        name.to_owned(),
        name.to_uppercase(),
        format!("{}{rest}", char::from(capital)),
        format!("%{first:02x}{rest}"),
        format!("%{capital:02x}{rest}"),
        format!("%25{first:02x}{rest}"),
        format!("%25{capital:02x}{rest}"),
        format!("%2525{first:02x}{rest}"),
        format!("%%{:02x}{:02x}{rest}", format!("{first:02x}").as_bytes()[0], format!("{first:02x}").as_bytes()[1]),
        format!("%u00{first:02x}{rest}"),
        all_encoded(true),
        all_encoded(false),
        all_encoded(true).replace('%', "%25"),
        format!("%00{name}"),
        format!("%0d{name}"),
        format!("%20{name}"),
        format!("\t{name}"),
        format!("{}%00{}", &name[..2], &name[2..]),
        format!("{}%0d{}", &name[..2], &name[2..]),
        format!("{}%C2%AD{}", &name[..2], &name[2..]),
        name.replace('i', "%C4%B1"),    // dotless i, whose capital is I
        name.replace('i', "%C4%B0"),    // I with a dot
        name.replace('s', "%C5%BF"),    // long s
        name.replace('d', "%EF%BD%84"), // full width
        name.replace('i', "\u{131}"),
    ]
}

/// The words of a table, which stand between single blanks: tabs and the like are part of them.
fn words(table: &str) -> impl Iterator<Item = &str> {
    table.lines().flat_map(|line| line.split(' ')).filter(|it| !it.is_empty())
}

fn targets() -> Vec<Vec<u8>> {
    let mut targets: Vec<String> = vec![String::new()];
    for name in ["admin", "closed"] {
        for spelling in spellings(name) {
            targets
                .extend(["/{}", "/{}/x", "/public/../{}", "/public/..%2f{}"].map(|form| form.replace("{}", &spelling)));
        }
        targets.extend(words(TRICKS).map(|trick| trick.replace("{}", name)));
        for origin in [HOST, "open.example", "[::1]", ""] {
            for path in ["/{}", "/public/../{}", "//{}", "/{}?http://x/public", ""] {
                targets.push(format!("http://{origin}{}", path.replace("{}", name)));
                targets.push(format!("HTTPS://{origin}:80{}", path.replace("{}", name)));
            }
        }
        let long = "a".repeat(9000);
        targets.extend([
            format!("/public/{long}/../../{name}"),
            format!("/{name}/{long}"),
            format!("/{long}/../{name}"),
        ]);
        targets.extend([format!("/public{}/{name}", "/..".repeat(500)), format!("/public{}{name}", "/".repeat(4000))]);
        targets.push(format!("/public/{}{name}", "%2e%2e%2f".repeat(64)));
        targets.push(format!("/public{}/{name}", ";a".repeat(1000)));
    }
    for up in words(UP).chain([" .."]) {
        for slash in words(SLASH) {
            targets
                .extend([format!("/public{slash}{up}{slash}admin"), format!("/public/x/{up}{slash}{up}{slash}admin")]);
        }
    }
    let mut bytes: Vec<Vec<u8>> = targets.into_iter().map(String::into_bytes).collect();
    for byte in (0_u8..=0x20).chain(0x7f..=0xff).chain(*b"\"<>[]^`{|}") {
        for form in ["/admin{}", "/admin{}x", "/{}admin", "/public{}/../admin", "/public/..{}/admin", "/ad{}min"] {
            let (before, after) = form.split_once("{}").unwrap();
            bytes.push([before.as_bytes(), &[byte], after.as_bytes()].concat());
        }
    }
    bytes
}

/// How many arrived, for a look at whether the tests still aim well.
fn arrived(outcome: &crate::attacks::Outcome) -> usize {
    outcome.arrived.values().map(Vec::len).sum()
}

async fn paths(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let mut shots = Vec::new();
    for target in targets() {
        for who in [Who::Nobody, Who::Customer] {
            shots.push(Shot::get(who, target.clone()));
            shots.push(Shot::get(who, target.clone()).over(Wire::Http2));
        }
    }
    for wall in town.walls(version).await? {
        let outcome = wall.attack(&town, &shots).await?;
        // Most end at the wall; a few mean something harmless and pass.
        ensure!(arrived(&outcome) > 50, "{:?}: only {} of {} arrived", wall.setting, arrived(&outcome), shots.len());
        ensure!(outcome.statuses.iter().flatten().filter(|it| **it == 400).count() > shots.len() / 4);
    }
    Ok(())
}

/// Numbers that look random and come again with the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

const NAMES: [&[u8]; 16] = [
    b"public",
    b"public",
    b"admin",
    b"admin",
    b"closed",
    b"hello",
    b"items",
    b"x",
    b"caf%C3%A9",
    b"ADMIN",
    b"Public",
    b"%61dmin",
    b"adm%69n",
    b"%2561dmin",
    b"p%75blic",
    b"a b",
];
const SIGNS: [&[u8]; 52] = [
    b"/",
    b"/",
    b"/",
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"..",
    b".",
    b"...",
    b"%2e",
    b"%2E",
    b"%2f",
    b"%2F",
    b"%5c",
    b"\\",
    b"%25",
    b"%252e",
    b"%252f",
    b"%255c",
    b";",
    b";",
    b";x=1",
    b"%3b",
    b"%253b",
    b"?",
    b"?a=",
    b"%3f",
    b"%253F",
    b"#",
    b"%23",
    b"%00",
    b"%20",
    b" ",
    b"\t",
    b"%09",
    b"%0d%0a",
    b"%c0%ae",
    b"%c0%af",
    b"%u002e",
    b"%u002f",
    b"%EF%BC%8F",
    b"%C2%A0",
    b"%C4%B1",
    b"%",
    b"%2",
    b"+",
    b"~",
    b"\xe9",
    b"\x7f",
    b"%7e",
    b"://",
];

fn random_target(dice: &mut Dice) -> Vec<u8> {
    let mut target = b"/".to_vec();
    // Some signs more and most requests are refused, some less and they are plain: both sides count.
    let wild = dice.below(4);
    for _ in 0..=dice.below(6) {
        target.extend(dice.pick(&NAMES));
        for _ in 0..=dice.below(wild + 1) {
            target.extend(if dice.below(4) < wild { dice.pick(&SIGNS) } else { b"/" });
        }
    }
    if dice.one_in(8) {
        target
            .splice(..0, dice.pick(&["http://shop.example", "HTTP://shop.example:80", "http://open.example"]).bytes());
    }
    target
}

fn random_shot(dice: &mut Dice) -> Shot {
    let who = match dice.below(8) {
        0..5 => Who::Nobody,
        5..7 => Who::Customer,
        _ => Who::Admin,
    };
    let mut shot = Shot::get(who, random_target(dice));
    if dice.one_in(3) {
        let methods = ["HEAD", "POST", "DELETE", "PATCH", "OPTIONS", "get", "delete", "Delete", "PURGE", "TRACE"];
        shot = shot.method(dice.pick(&methods));
    }
    if dice.one_in(6) {
        let name =
            dice.pick(&["X-HTTP-Method-Override", "x-http-method", "X_Method_Override", "x.http.method.override"]);
        shot = shot.field(name, dice.pick(&["DELETE", "POST", "get", "delete", "GET,DELETE", " PUT", ""]));
    }
    if dice.one_in(6) {
        let name = dice.pick(&["X-Original-URL", "x-rewrite-url", "X_Original_Url", "x.rewrite.url"]);
        let value = random_target(dice);
        shot = shot.field(name, value.into_iter().filter(|byte| !byte.is_ascii_control()).collect::<Vec<_>>());
    }
    if dice.one_in(4) { shot.over(Wire::Http2) } else { shot }
}

/// `ATTACK_SEED` repeats a run; `ATTACKS` sends more, in each setting.
#[expect(clippy::print_stderr, reason = "the seed is what a failing run is repeated with")]
async fn random(version: EnvoyVersion) -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = number("ATTACK_SEED").unwrap_or(u64::from(now.subsec_nanos()) ^ now.as_secs());
    let many = number("ATTACKS").unwrap_or(3_000);
    eprintln!("ATTACK_SEED={seed} ATTACKS={many}");
    let town = Town::found().await?;
    for (index, wall) in (0..).zip(town.walls(version).await?) {
        let mut dice = Dice(seed ^ index);
        let shots: Vec<Shot> = (0..many).map(|_| random_shot(&mut dice)).collect();
        let outcome = wall.attack(&town, &shots).await.map_err(|it| it.context(format!("ATTACK_SEED={seed}")))?;
        let (arrived, all) = (arrived(&outcome), shots.len());
        eprintln!("{:?}: {arrived} of {all} arrived", wall.setting);
        ensure!(arrived > all / 20 && arrived < all / 4 * 3, "the dice are loaded: {arrived} of {all} arrived");
    }
    Ok(())
}

/// What becomes of an ordinary request in the shipped setting. In Envoy's own, all pass unchanged.
#[derive(Clone, Copy, Debug)]
enum Strict {
    Unchanged,
    /// Envoy normalises it, before the gate sees it and for the service alike.
    Becomes(&'static str),
    /// `path_with_escaped_slashes_action` says so.
    Refused,
    /// Refused in Envoy's own setting too, by its parser: bytes beyond ASCII have to be encoded (RFC 3986 §2).
    Never,
}
use Strict::{Becomes, Never, Refused, Unchanged};

const ORDINARY: [(&str, Strict); 59] = [
    ("/", Unchanged),
    ("/caf%C3%A9", Unchanged),
    ("/caf%c3%a9", Unchanged),
    ("/%E6%97%A5%E6%9C%AC", Unchanged),
    ("/a%20b", Unchanged),
    ("/a+b", Unchanged),
    ("/file%20%281%29.pdf", Unchanged),
    ("/projects/group%2Fname", Refused),
    ("/projects/group%2fname/issues", Refused),
    ("/img/https://cdn.example/x.png", Becomes("/img/https:/cdn.example/x.png")),
    ("/img/https:/cdn.example/x.png", Unchanged),
    ("/img/https%3A%2F%2Fcdn.example%2Fx.png", Refused),
    ("/a//b", Becomes("/a/b")),
    ("/list;sort=asc", Unchanged),
    ("/list;jsessionid=1;v=2/item;v=3", Unchanged),
    ("/50%25off", Unchanged),
    ("/100%25", Unchanged),
    ("/~user", Unchanged),
    ("/%7Euser", Becomes("/~user")),
    ("/@scope/pkg", Unchanged),
    ("/%40scope%2Fpkg", Refused),
    ("/a:b", Unchanged),
    ("/a=b&c=d", Unchanged),
    ("/it's", Unchanged),
    ("/(a)*!$,", Unchanged),
    ("/wiki/C%2B%2B_(language)", Unchanged),
    ("/wiki/C%23", Unchanged),
    ("/wiki/What%3F", Unchanged),
    ("/.well-known/openid-configuration", Unchanged),
    ("/.git", Unchanged),
    ("/compare/v1...v2", Unchanged),
    ("/v1.2.3/x.tar.gz", Unchanged),
    ("/jquery-3.7.1.min.js", Unchanged),
    ("/feed.xml/", Unchanged),
    ("/J.R.R.", Unchanged),
    ("/note%20", Unchanged),
    ("/Shop/Cart", Unchanged),
    ("/SHOP", Unchanged),
    ("/trailing/", Unchanged),
    ("/administrator", Unchanged),
    ("/x/admin", Unchanged),
    ("/publications", Unchanged),
    ("/?", Unchanged),
    ("/?q=a/../b", Unchanged),
    ("/?x=%2e%2e", Unchanged),
    ("/?x=%2e%2e%2fadmin", Unchanged),
    ("/?next=/admin", Unchanged),
    ("/?next=//evil.example/../x", Unchanged),
    ("/?next=https%3A%2F%2Fevil.example%2F", Unchanged),
    ("/?a=1?b=2", Unchanged),
    ("/?a=1;b=2", Unchanged),
    ("/?a[]=1&a[]=2", Unchanged),
    ("/?q={\"a\":[1,2]}", Unchanged),
    ("/?q=50%", Unchanged),
    ("/?q=%zz", Unchanged),
    ("/?q=%00%c0%ae", Unchanged),
    ("/?back\\slash", Unchanged),
    ("/?_method=DELETE", Unchanged),
    ("/?caf=\u{e9}", Never),
];

async fn ordinary(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    // Under the rule that needs a session, and under the public one.
    let long = format!("/x?{}", "q=0123456789&".repeat(600));
    let deep = "/deep".repeat(200);
    let mut rows: Vec<(String, Strict)> = vec![(long, Unchanged), (deep, Unchanged)];
    rows.extend(ORDINARY.map(|(path, strict)| (path.to_owned(), strict)));
    for wall in town.walls(version).await? {
        let mut shots = Vec::new();
        let mut wanted = Vec::new();
        for (path, strict) in &rows {
            for (before, who) in [("", Who::Customer), ("/public", Who::Nobody)] {
                for wire in [Wire::Http1, Wire::Http2] {
                    // Not every byte may stand in an HTTP/2 path.
                    if wire == Wire::Http2 && !path.is_ascii() {
                        continue;
                    }
                    let target = format!("{before}{path}");
                    wanted.push(match strict {
                        Becomes(path) if wall.setting.strict => Some(format!("{before}{path}")),
                        Refused if wall.setting.strict => None,
                        Never => None,
                        _ => Some(target.clone()),
                    });
                    shots.push(Shot::get(who, target).over(wire));
                }
            }
        }
        let outcome = wall.attack(&town, &shots).await?;
        let mut wrong = Vec::new();
        for (case, shot) in shots.iter().enumerate() {
            let arrived = outcome.arrived.get(&case).and_then(|all| all.first()).map(|seen| raw_target(&seen.0.start));
            let status = outcome.statuses[case];
            let want = if wanted[case].is_some() { 200 } else { 400 };
            if arrived != wanted[case].as_ref().map(|it| it.as_bytes().to_vec()) || status != Some(want) {
                let arrived = arrived.map(|it| it.escape_ascii().to_string());
                wrong.push(format!("{}: {status:?}, arrived {arrived:?}, wanted {:?}", shot.describe(), wanted[case]));
            }
        }
        ensure!(wrong.is_empty(), "{:?}:\n{}", wall.setting, wrong.join("\n"));
    }
    Ok(())
}

fn raw_target(start: &[u8]) -> Vec<u8> {
    start.split(|byte| *byte == b' ').nth(1).unwrap_or_default().to_vec()
}

async fn overrides(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let mut shots = Vec::new();
    // What must pass all the same, so that the table cannot pass by refusing everything.
    let mut pass = Vec::new();
    for name in [
        "X-HTTP-Method-Override",
        "x-http-method",
        "x-method-override",
        "X_HTTP_METHOD_OVERRIDE",
        "x.http.method.override",
    ] {
        for value in ["DELETE", "delete", "POST", " DELETE", "PUT,DELETE", "GET, DELETE", "D\u{e9}LETE", ""] {
            for (method, target) in [("GET", "/items/1"), ("POST", "/x"), ("GET", "/x")] {
                for who in [Who::Nobody, Who::Customer] {
                    shots.push(Shot::get(who, target).method(method).field(name, value));
                }
            }
        }
        if !name.contains('_') {
            pass.push(shots.len());
            shots.push(Shot::get(Who::Customer, "/x").method("POST").field(name, "PATCH"));
            pass.push(shots.len());
            shots.push(Shot::get(Who::Admin, "/x").method("POST").field(name, "PATCH"));
        }
    }
    for name in ["X-Original-URL", "x-rewrite-url", "X_Original_Url", "x.rewrite.url", "X-Original_URL"] {
        let values = [
            "/admin",
            "/ADMIN",
            "/%61dmin",
            "//admin",
            "/public/../admin",
            "/public/..%2fadmin",
            "/admin?x",
            "/x,/admin",
            "/x, /admin",
            "admin",
            "../admin",
            "http://shop.example/admin",
            "https://shop.example/admin",
            "http://open.example/admin",
            "http://evil.example/",
            "/closed",
            "/admin#",
            " /admin",
            "/\\admin",
            "",
        ];
        for value in values {
            for (who, target) in [(Who::Nobody, "/public"), (Who::Nobody, "/hello"), (Who::Customer, "/x")] {
                shots.push(Shot::get(who, target).field(name, value));
            }
        }
        if !name.contains('_') {
            pass.push(shots.len());
            shots.push(Shot::get(Who::Customer, "/x").field(name, "/y?z"));
            // Two lines.
            shots.push(Shot::get(Who::Customer, "/x").field(name, "/y").field(name, "/admin"));
        }
    }
    // The client's word about its own address, scheme, path or host moves no rule (P4).
    for (name, value) in [
        ("X-Forwarded-Host", "open.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Prefix", "/public"),
        ("X-Forwarded-Uri", "/public"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Envoy-Original-Path", "/public"),
        ("X-Envoy-Internal", "true"),
        ("X-Envoy-External-Address", "127.0.0.1"),
        ("X-Original-Host", "open.example"),
        ("X-Host", "open.example"),
        ("Forwarded", "host=open.example;proto=https;for=127.0.0.1"),
        ("X-Real-Ip", "127.0.0.1"),
        ("X-User", "ada"),
        ("X-Roles", "admin"),
        ("Cloakroom.policy", "shop/open"),
    ] {
        for wire in [Wire::Http1, Wire::Http2] {
            let name = if wire == Wire::Http2 { name.to_ascii_lowercase() } else { name.to_owned() };
            shots.push(Shot::get(Who::Nobody, "/x").field(&name, value).over(wire));
            shots.push(Shot::get(Who::Customer, "/admin").field(&name, value).over(wire));
            pass.push(shots.len());
            shots.push(Shot::get(Who::Nobody, "/public").field(&name, value.replace("public", "admin")).over(wire));
        }
    }
    for wall in town.walls(version).await? {
        let outcome = wall.attack(&town, &shots).await?;
        for case in &pass {
            let shot = &shots[*case];
            ensure!(outcome.arrived.contains_key(case), "{:?}: refused: {}", wall.setting, shot.describe());
        }
    }
    Ok(())
}

/// What the host says and where the answer comes from: `shop.example` needs a session, `open.example` nothing, others are
/// nobody's.
async fn hosts(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    for wall in town.walls(version).await? {
        let strict = wall.setting.strict;
        for (target, hosts, want) in [
            ("/x", &["shop.example"][..], 401),
            ("/x", &["SHOP.Example"], 401),
            ("/x", &["shop.example:8080"], 401),
            ("/x", &["shop.example:80"], 401),
            ("/x", &["open.example"], 200),
            ("/x", &["OPEN.example:8443"], 200),
            ("/x", &["other.example"], 403),
            ("/x", &["sub.open.example"], 403),
            ("/x", &["127.0.0.1"], 403),
            ("/x", &["[::1]:80"], 403),
            ("/x", &["open.example."], 400),
            ("/x", &["open.example.:80"], 400),
            ("/x", &["open.example:0"], 400),
            ("/x", &["open.example:99999"], 400),
            ("/x", &["open.example:80x"], 400),
            ("/x", &["ada@open.example"], 400),
            ("/x", &["shop.example@open.example"], 400),
            ("/x", &["open.example@shop.example"], 400),
            ("/x", &["open.example,shop.example"], 400),
            ("/x", &["open.example shop.example"], 400),
            ("/x", &["open.example/shop.example"], 400),
            ("/x", &["open.example?shop.example"], 400),
            ("/x", &["open.example#shop.example"], 400),
            ("/x", &["open%2eexample"], 400),
            ("/x", &["\u{ff4f}pen.example"], 400),
            ("/x", &["*"], 400),
            ("/x", &[""], 400),
            ("/x", &[], 400),
            ("/x", &["open.example", "shop.example"], 400),
            ("/x", &["shop.example", "open.example"], 400),
            ("/x", &["open.example", "open.example"], 400),
            // The absolute form counts, whatever `Host` says (RFC 9112 §3.2.2).
            ("http://shop.example/x", &["open.example"], 401),
            ("http://open.example/x", &["shop.example"], 200),
            ("http://open.example", &["shop.example"], 200),
            ("http://shop.example:80/x", &["open.example"], 401),
            ("http://ada@open.example/x", &["shop.example"], 200), // Envoy drops the user,
            ("http://shop.example\\@open.example/x", &["open.example"], 400),
            ("http://open.example#@shop.example/x", &["open.example"], 400),
            ("http:///x", &["open.example"], 400),
            ("//open.example/x", &["shop.example"], if strict { 401 } else { 400 }),
            ("open.example/x", &["shop.example"], 400),
        ] {
            let mut request = format!("GET {target} HTTP/1.1\r\n");
            for host in hosts {
                request += &format!("Host: {host}\r\n");
            }
            let status = exchange(wall.envoy.address(), format!("{request}\r\n").as_bytes()).await?.status();
            ensure!(status == want, "{:?}: {target} {hosts:?}: {status}, wanted {want}", wall.setting);
            check_host(&wall, want == 200, &format!("{target} {hosts:?}"))?;
        }
        hosts_over_http2(&wall).await?;
        // Frameworks believe these; the service must not hear of another host from a client.
        for name in ["X-Forwarded-Host", "X_Forwarded_Host", "X-Host", "x-original-host", "Forwarded"] {
            let value = if name == "Forwarded" { "host=shop.example" } else { "shop.example" };
            let request = format!("GET /x HTTP/1.1\r\nHost: open.example\r\n{name}: {value}\r\n\r\n");
            let status = exchange(wall.envoy.address(), request.as_bytes()).await?.status();
            let seen = wall.shop.take();
            ensure!(status == 200 || strict && name.contains('_') && status == 400, "{name}: {status}");
            ensure!(seen.iter().all(|seen| seen.header_readings(name).is_empty()), "{:?}: {seen:?}", wall.setting);
        }
    }
    Ok(())
}

/// The service must find the one host that was judged, wherever it looks.
fn check_host(wall: &Wall, served: bool, request: &str) -> Result<()> {
    let seen = wall.shop.take();
    ensure!(seen.len() == usize::from(served), "{:?}: {request}: {} requests arrived", wall.setting, seen.len());
    for seen in seen {
        let hosts = seen.header_readings("host");
        let is_open = |host: &str| host.split(':').next().is_some_and(|it| it.eq_ignore_ascii_case("open.example"));
        ensure!(hosts.len() == 1 && is_open(&hosts[0]), "{:?}: {request}: arrived for {hosts:?}", wall.setting);
        ensure!(seen.target().starts_with('/'), "{:?}: {request}: {seen:?}", wall.setting);
    }
    Ok(())
}

async fn hosts_over_http2(wall: &Wall) -> Result<()> {
    for (fields, served) in [
        (&[(":authority", "open.example")][..], true),
        (&[(":authority", "shop.example")], false),
        (&[(":authority", "open.example"), ("host", "open.example")], true),
        (&[(":authority", "open.example"), ("host", "shop.example")], false),
        (&[(":authority", "shop.example"), ("host", "open.example")], false),
        (&[(":authority", "open.example"), (":authority", "shop.example")], false),
        (&[(":authority", "ada@open.example")], false),
        (&[(":authority", "open.example,shop.example")], false),
        (&[(":authority", "")], false),
        (&[], false),
    ] {
        let start = [(":method", "GET"), (":scheme", "http"), (":path", "/x")];
        let fields: Vec<_> =
            start.iter().chain(fields).map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let status = http2::exchange(wall.envoy.address(), &fields, None).await?;
        let seen = wall.shop.take();
        let name = format!("{:?}: HTTP/2 {:?}: {status:?}", wall.setting, &fields[3..]);
        // A `host` beside `:authority` is dropped by Envoy; what arrives is what was judged.
        for seen in &seen {
            ensure!(seen.header_readings("host") == ["open.example"], "{name}: {seen:?}");
        }
        ensure!(!served || seen.len() == 1, "{name}: did not arrive");
        ensure!(served || seen.is_empty() || fields[3..].len() == 2, "{name}: arrived");
    }
    Ok(())
}
