//! Configuration: any change of the reference file is either accepted or rejected with a message.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::checks;

const REFERENCE: &str = include_str!("../../config/reference.toml");
const VALUES: [&str; 22] = [
    "\"\"",
    "0",
    "-1",
    "9223372036854775807",
    "1e400",
    "nan",
    "true",
    "[]",
    "{}",
    "[[]]",
    "[\"\"]",
    "\"\\u0000\"",
    "\"99999999999999999999d\"",
    "\"0s\"",
    "\"/\"",
    "\"https://\"",
    "\"unix:\"",
    "2026-01-01",
    "'''",
    "\"\u{1f980}\"",
    "{ a = { b = 1 } }",
    "\"http://[::1\"",
];

#[derive(Clone, Debug)]
enum Slip {
    Remove(Index),
    Repeat(Index, Index),
    Swap(Index, &'static str),
    Cut(Index, Index),
}

fn slips() -> impl Strategy<Value = Slip> {
    let at = any::<Index>;
    prop_oneof![
        1 => at().prop_map(Slip::Remove),
        1 => (at(), at()).prop_map(|(from, to)| Slip::Repeat(from, to)),
        4 => (at(), select(VALUES.as_slice())).prop_map(|(line, value)| Slip::Swap(line, value)),
        1 => (at(), at()).prop_map(|(line, at)| Slip::Cut(line, at)),
    ]
}

fn slipped(slips: Vec<Slip>) -> String {
    let mut lines: Vec<String> = REFERENCE.lines().map(str::to_owned).collect();
    for slip in slips {
        match slip {
            Slip::Remove(line) => drop(lines.remove(line.index(lines.len()))),
            Slip::Repeat(from, to) => lines.insert(
                to.index(lines.len()),
                lines[from.index(lines.len())].clone(),
            ),
            Slip::Swap(line, value) => {
                let keys: Vec<usize> = (0..lines.len())
                    .filter(|at| lines[*at].contains(" = "))
                    .collect();
                let line = &mut lines[keys[line.index(keys.len())]];
                *line = format!("{} = {value}", line.split(" = ").next().unwrap_or_default());
            }
            Slip::Cut(line, at) => {
                let line = line.index(lines.len());
                let chars = lines[line].chars().count().max(1);
                lines[line] = lines[line].chars().take(at.index(chars)).collect();
            }
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn mutated_reference_is_accepted_or_rejected_with_message(slips in vec(slips(), 1..6)) {
        checks::config::check(&slipped(slips));
    }

    #[test]
    fn arbitrary_text_is_accepted_or_rejected_with_message(
        text in prop_oneof![
            any::<String>(),
            "(\\[{1,2}(apps|providers|server|a)(\\.[a-z]{0,3}){0,2}\\]{1,2}|[a-z_.]{1,9} ?= ?[0-9\"\\[{}a-z.:-]{0,9}|\\PC{0,9}|\n){0,12}",
        ],
    ) {
        checks::config::check(&text);
    }
}
