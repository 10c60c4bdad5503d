//! Tags, segments, lifecycles, journeys and timelines.

use super::*;

const SOURCE: &str = "sources: { s: { connector: sqlite, path: a.db } }\n\
                      entities: { c: { table: s.c, key: id, attributes: { town: t } } }\n";

fn names<'a, T: 'a>(of: &'a [T], name: impl Fn(&'a T) -> &'a str) -> Vec<&'a str> {
    of.iter().map(name).collect()
}

#[test]
fn what_is_declared_of_an_entity_keeps_its_order_and_its_words() {
    let model = "tags: { c: { z: n > 1, a: { expr: n > 2, label: { en: A, zh: 甲 }, description: d } } }\n\
                 lifecycles: { c: { stages: { young: n IS NULL, adult: 'true', after: x <= as_of } } }\n\
                 segments: { c: { both: { where: z AND a, label: B } } }\n\
                 journeys: { c: { j: { steps: { two: { table: s.t, time: at, where: k = 1 }, one: { table: s.u, time: day } } } } }\n\
                 timelines: { c: { e: { table: s.t, time: at, amount: v, detail: \"concat(k, 'x')\", where: v > 0 } } }\n";
    let main = format!("{HEAD}{SOURCE}");
    let (project, _) = check(&[("caliber.yaml", &main), ("c.yaml", model)], &[]);
    let project = project.unwrap();
    let whole = &project.wholes["c"];
    assert_eq!(names(&whole.tags, |tag| &tag.name), ["z", "a"]);
    assert_eq!(names(&whole.tags, |tag| &tag.condition.text), ["n > 1", "n > 2"]);
    assert_eq!(whole.tags[1].label.text("zh"), Some("甲"));
    assert_eq!(whole.tags[1].description.as_deref(), Some("d"));
    assert_eq!(names(&whole.segments, |one| &one.condition.text), ["z AND a"]);
    assert_eq!(names(&whole.stages, |stage| &stage.name), ["young", "adult", "after"]);
    assert_eq!(
        names(&whole.stages, |stage| &stage.condition.text),
        ["n IS NULL", "true", "x <= as_of"]
    );
    let steps = &whole.journeys[0].steps;
    assert_eq!(names(steps, |step| &step.name), ["two", "one"]);
    assert_eq!(names(steps, |step| &step.time), ["at", "day"]);
    assert_eq!(steps[0].condition.as_ref().unwrap().text, "k = 1");
    let event = &whole.timeline[0];
    assert_eq!(event.table.to_string(), "s.t");
    assert_eq!(event.amount.as_ref().unwrap().text, "v");
    assert_eq!(event.detail.as_ref().unwrap().text, "concat(k, 'x')");
}

#[test]
fn the_order_of_stages_means_something() {
    let hash = |stages: &str| {
        let text = format!("{HEAD}{SOURCE}lifecycles: {{ c: {{ stages: {{ {stages} }} }} }}\n");
        check(&[("caliber.yaml", &text)], &[]).0.unwrap().hash
    };
    assert_eq!(hash("a: x, b: y"), hash("a:   x, b: y"));
    assert_ne!(hash("a: x, b: y"), hash("b: y, a: x"));
}

#[test]
fn what_leads_nowhere_is_found() {
    let text = format!(
        "{HEAD}{SOURCE}\
         tags: {{ d: {{ x: n > 1 }} }}\n\
         segments: {{ c: {{ y: {{ expr: n > 1 }} }} }}\n\
         lifecycles: {{ c: {{ stages: {{}} }} }}\n\
         journeys: {{ c: {{ j: {{ steps: {{}} }}, k: {{ steps: {{ one: {{ table: r.t, time: at }} }} }} }} }}\n\
         timelines: {{ c: {{ e: {{ table: s.t }}, f: {{ table: t, time: at }} }} }}\n"
    );
    let (_, rendered) = check(
        &[("caliber.yaml", &text)],
        &[
            "PRJ010 caliber.yaml:5:9 did you mean `c`?",
            "PRJ005 caliber.yaml:6:18",
            "PRJ003 caliber.yaml:6:23",
            "PRJ004 caliber.yaml:7:15",
            "PRJ004 caliber.yaml:8:18",
            "PRJ010 caliber.yaml:8:64 did you mean `s.t`?",
            "PRJ005 caliber.yaml:9:19",
            "PRJ004 caliber.yaml:9:50",
        ],
    );
    assert!(rendered.contains("a lifecycle without stages"), "{rendered}");
    assert!(rendered.contains("a journey without steps"), "{rendered}");
}

#[test]
fn a_name_is_one_thing_within_an_entity() {
    let text = format!(
        "{HEAD}{SOURCE}\
         metrics: {{ n: {{ table: s.t, expr: count(*) }} }}\n\
         tags: {{ c: {{ Town: n > 1, N: n > 2, ID: n > 3, fine: n > 4, s_state: n > 5 }} }}\n\
         segments: {{ c: {{ fine: {{ where: n > 1 }}, Stage: {{ where: n > 1 }} }} }}\n\
         lifecycles: {{ c: {{ stages: {{ FINE: n > 1 }} }} }}\n\
         timelines: {{ c: {{ e: {{ table: s.t, time: a }}, E: {{ table: s.t, time: a }} }} }}\n"
    );
    let (_, rendered) = check(
        &[("caliber.yaml", &text)],
        &[
            "PRJ006 caliber.yaml:6:14",
            "PRJ006 caliber.yaml:6:27",
            "PRJ006 caliber.yaml:6:37",
            "PRJ006 caliber.yaml:6:61",
            "PRJ006 caliber.yaml:7:18",
            "PRJ006 caliber.yaml:7:42",
            "PRJ006 caliber.yaml:8:30",
            "PRJ006 caliber.yaml:9:47",
        ],
    );
    assert!(rendered.contains("`town` and `Town` differ in case only"), "{rendered}");
    assert!(
        rendered.contains("`s_state` is a column that Caliber makes"),
        "{rendered}"
    );
}

#[test]
fn an_attribute_may_be_called_stage_where_there_is_no_lifecycle() {
    let project = |more: &str| {
        format!(
            "{HEAD}sources: {{ s: {{ connector: sqlite, path: a.db }} }}\nentities: {{ c: {{ table: s.c, key: id, attributes: {{ stage: t }} }} }}\n{more}"
        )
    };
    check(&[("caliber.yaml", &project("tags: { c: { x: t = 1 } }\n"))], &[]);
    let with = project("lifecycles: { c: { stages: { x: t = 1 } } }\n");
    check(&[("caliber.yaml", &with)], &["PRJ006 caliber.yaml:4:60"]);
}

#[test]
fn a_day_is_no_name_of_a_tag_or_stage() {
    let text = format!(
        "{HEAD}{SOURCE}\
         tags: {{ c: {{ as_of: n > 1, Metric_Time: n > 2 }} }}\n\
         lifecycles: {{ c: {{ stages: {{ fine: n > 1, AS_OF: n > 2 }} }} }}\n"
    );
    // Line 5 holds the tags, line 6 the stages; `AS_OF` is in the way of the tag `as_of` too.
    let found = [
        "PRJ006 caliber.yaml:5:14",
        "PRJ006 caliber.yaml:5:28",
        "PRJ006 caliber.yaml:6:43",
        "PRJ006 caliber.yaml:6:43",
    ];
    check(&[("caliber.yaml", &text)], &found);
}

#[test]
fn the_banks_declarations_load_unchanged() {
    let bank = bank_project();
    let later = bank.join("../later");
    if !later.exists() {
        println!("skipped: {} is not there", later.display());
        return;
    }
    let main = format!(
        "{HEAD}sources: {{ accounting: {{ connector: sqlite, path: a.db }}, credit: {{ connector: sqlite, path: c.db }}, settlement: {{ connector: sqlite, path: s.db }} }}\n\
         entities: {{ customer: {{ table: accounting.client, key: client_id }} }}\n"
    );
    let read = |name: &str| std::fs::read_to_string(later.join(name)).unwrap();
    let (metrics, whole) = (read("metrics.yaml"), read("customer-360.yaml"));
    let (project, _) = check(
        &[
            ("caliber.yaml", &main),
            ("metrics.yaml", &metrics),
            ("whole.yaml", &whole),
        ],
        // Its label ends at a comma, as YAML has it.
        &["warning PRJ004 whole.yaml:33:50"],
    );
    let project = project.unwrap();
    let customer = &project.wholes["customer"];
    let lists = (
        customer.tags.len(),
        customer.segments.len(),
        customer.journeys.len(),
        customer.timeline.len(),
    );
    assert_eq!(lists, (5, 2, 1, 4));
    assert_eq!(
        names(&customer.stages, |stage| &stage.name),
        ["prospect", "churn", "introduction", "dormancy", "growth", "maturity"]
    );
    let schema: serde_json::Value = serde_json::from_str(&json_schema(&KINDS)).unwrap();
    let mut findings = Findings::default();
    let mut seen = 0;
    for text in files::read(&later.canonicalize().unwrap(), &mut findings) {
        keys_in_schema(&yaml::parse(&text, &mut findings).unwrap(), &schema, &mut seen);
    }
    assert!(seen > 100, "{seen} keys");
}
