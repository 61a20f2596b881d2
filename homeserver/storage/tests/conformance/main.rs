//! What every engine must do, run on each of them.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../common/mod.rs"]
mod common;

mod batches;
mod feeds;
mod leases;
mod log;
mod outcomes;
mod reads;
mod starts;

/// Runs each case on each engine.
macro_rules! on_each_engine {
    ($($module:ident: $($case:ident),+ $(,)?;)+) => {
        mod memory {
            $(mod $module { $(
                #[tokio::test]
                async fn $case() {
                    crate::$module::$case(&crate::common::Disk::memory()).await;
                }
            )+ })+
        }
        mod rocksdb {
            $(mod $module { $(
                #[tokio::test]
                async fn $case() {
                    crate::$module::$case(&crate::common::Disk::rocks()).await;
                }
            )+ })+
        }
    };
}

on_each_engine! {
    batches: positions_are_dense_and_increasing, a_batch_applies_whole_or_not_at_all, writes_apply_in_order,
        position_fills_marked_slots, limits_are_refused_and_change_nothing, unknown_and_reserved_tables_are_refused,
        an_empty_batch_takes_a_position, a_decoded_batch_does_what_the_original_would;
    outcomes: preconditions_hold_or_conflict, a_group_sees_the_batches_ahead, dependants_of_a_conflict_conflict,
        a_group_sees_deletes_and_ranges_ahead, a_retry_is_answered_the_same, a_retry_is_answered_the_same_after_a_restart,
        an_id_is_remembered_for_the_stated_positions, outcomes_follow_from_the_log_alone;
    reads: a_snapshot_stays_as_it_was, scans_are_half_open_both_ways, prefixes_end_where_they_should,
        tables_do_not_leak_into_each_other, multi_get_answers_in_order, a_scan_can_be_moved_to_a_key, deleted_ranges_are_gone_and_can_be_filled_again,
        random_writes_read_like_a_sorted_map, the_reader_pool_is_bounded;
    feeds: only_subscribers_of_the_topic_wake, subscribing_then_reading_never_misses, what_a_snapshot_shows_has_been_touched, a_volatile_notification_writes_nothing,
        leaving_takes_nobody_else_along, a_wake_comes_after_the_snapshot;
    log: the_log_tells_what_was_committed, cursors_are_durable, the_log_is_trimmed_but_not_before_its_readers;
    leases: one_holder_at_a_time, an_old_fence_is_refused, renewing_and_releasing;
    starts: everything_is_there_after_a_restart, incarnation_names_the_log, schema_versions_are_checked,
        a_contradictory_schema_is_refused, a_closing_store_answers;
}
