//! Each clause of chapters 1 to 3 and of the checks on receipt that can be turned off is missed by a test that it names.

use crate::{
    mutants_of::{Tests, every_clause_is_missed},
    tests_of,
};

#[test]
fn without_any_clause_a_test_fails() {
    let tests: Tests = tests_of! {
        building: bad_events_are_not_built built_events_are_what_a_peer_reads create_events
            depths_end_where_integers_do redactions references_of_versions_1_and_2 templates;
        canonical: broken_json differences_from_olpc nesting_is_bounded the_last_of_several_members_counts;
        format: broken_text duplicate_members event_ids field_limits fields identifiers nesting redacts reference_limits
            references_begin_as_event_ids required_fields room_id_of_version_12 size_limit unsigned_is_bounded wrong_types;
        numbers: as_they_came_before_version_6 depth_and_time_are_integers lenient_hash_is_over_the_text negative_zero
            strict_from_version_6 whole_numbers;
        oracle: generated_events;
        redaction: every_list odd_third_party_invites redaction_makes_a_copy;
        signatures: an_invite_that_is_not_by_third_party_after_all authorising_user_must_be_a_user countersigning json_signatures keys odd_content_hashes
            padded_base64_is_read required_signers_of_every_version several_signers what_is_covered which_signatures_count;
        steps: authorisation each_check_is_noticed format_signatures_and_hash;
        vectors: canonical_json_examples control_characters event_signing json_signing keys_sort_by_code_point
            quotes_and_line_breaks signing_leaves_unsigned_and_other_signatures_alone;
    };
    every_clause_is_missed("events", &['E', 'S', 'R', 'P'], &tests);
}
