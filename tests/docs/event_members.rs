//! Members of all events: no event has a field of their names, since a member that is there twice is ambiguous.

use super::source::literals;

const MEMBERS: [&str; 8] = [
    "time",
    "level",
    "event",
    "request_id",
    "trace_id",
    "client_ip",
    "target",
    "message",
];

#[test]
fn no_event_has_a_field_with_the_name_of_a_member_of_all() {
    for (event, fields) in literals().event_fields {
        let reserved = MEMBERS.iter().find(|member| fields.contains(**member));
        assert_eq!(reserved, None, "{event}");
    }
}
