use std::path::Path;

use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
struct Row {
    id: u32,
    #[serde(default)]
    tags: Vec<String>,
}

type Read = Result<Vec<(usize, usize, u32)>, String>;

fn read_within(text: &str, key: Option<&str>) -> Read {
    let records = Records::<Row, _>::from_reader(Path::new("rows.json"), text.as_bytes(), key);
    let records = records.map_err(|e| e.to_string())?;
    records.map(|r| r.map(|(place, row)| (place.line, place.index, row.id)).map_err(|e| e.to_string())).collect()
}

fn read(text: &str) -> Read {
    read_within(text, None)
}

#[test]
fn arrays_lines_and_wrapped_arrays_are_read_alike() {
    let rows = Ok(vec![(2, 0, 1), (3, 1, 2)]);
    assert_eq!(read("[\n{\"id\": 1},\n{\"id\": 2, \"tags\": [\"}\\\"]\"]}\n]"), rows);
    assert_eq!(read("\n{\"id\": 1}\n{\"id\": 2}\n"), rows);
    assert_eq!(
        read_within("{\"note\": [1, {\"rows\": 3}], \"rows\": [\n{\"id\": 1},\n{\"id\": 2}]}", Some("rows")),
        rows
    );
    assert_eq!(read("[]"), Ok(vec![]));
    assert_eq!(read("\u{feff}[{\"id\": 7}]"), Ok(vec![(1, 0, 7)]));
}

#[test]
fn errors_name_file_line_record_and_field() {
    let error = |text: &str| read(text).unwrap_err();
    assert_eq!(
        error("[\n{\"id\": 1},\n{\"id\": 2,\n \"tags\": [\"a\", 4]}]"),
        "rows.json, line 4, record 1, at `tags[1]`: invalid type: integer `4`, expected a string"
    );
    assert_eq!(error("{\"id\": 1}\n{}"), "rows.json, line 2, record 1, at `.`: missing field `id`");
    assert_eq!(error("[{\"id\": 1},"), "rows.json, line 1: a value is missing");
    assert!(error("[{\"id\": 1}").contains("ends within the list"));
    assert!(error("[{\"id\": 1} {\"id\": 1}]").contains("`{` where `,` should stand"));
    assert!(error("[{\"id\": \"1").contains("ends within a value"));
    assert!(error("").contains("is empty"));
    assert!(error("hello").contains("is it the right file"));
    assert!(read_within("{\"a\": 1}", Some("rows")).unwrap_err().contains("no field `rows`"));
}

#[test]
fn texts_may_be_numbers_and_lists() {
    let text = |json: &str| serde_json::from_str::<Text>(json).map(|t| t.0).map_err(|e| e.to_string());
    assert_eq!(text("2022"), Ok("2022".to_owned()));
    assert_eq!(text("-1.50"), Ok("-1.5".to_owned()));
    assert_eq!(text("\"a\""), Ok("a".to_owned()));
    assert!(text("[1]").unwrap_err().starts_with("invalid type: sequence, expected a string or a number"));
    let many = |json: &str| serde_json::from_str::<OneOrMany>(json).map(|t| t.0).unwrap();
    assert_eq!(many("[\"a\", 2]"), ["a", "2"]);
    assert_eq!(many("\"a\""), ["a"]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_panicking(bytes in proptest::collection::vec(0u8..128, 0..80)) {
        for key in [None, Some("rows")] {
            if let Ok(records) = Records::<Row, _>::from_reader(Path::new("x"), bytes.as_slice(), key) {
                proptest::prop_assert!(records.count() <= bytes.len() + 1);
            }
        }
    }

    #[test]
    fn every_prefix_of_a_file_is_an_error_or_a_shorter_file(cut in 0usize..60) {
        let text = "[{\"id\": 1, \"tags\": [\"x\"]}, {\"id\": 2, \"tags\": []}, {\"id\": 3}]";
        let cut = cut.min(text.len() - 1);
        proptest::prop_assert!(read(&text[..cut]).is_err());
    }
}
