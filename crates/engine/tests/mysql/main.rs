//! MySQL and MariaDB by hand on real servers: provision, replicate, hand over, come back. Every story on every server there is.
#![allow(unreachable_pub, clippy::print_stderr, reason = "what runs here, and what is not to be had, is said")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod by_hand;
mod copies;
mod lag;
mod leaderships;
mod rejoin;
mod relay_logs;
#[path = "../support/run.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod run;
mod stage;
mod stories;
mod told;
mod versions;
mod waiting;

/// Every story as a test on every server. On the newer MariaDB they run with the long tests.
macro_rules! on_every_server {
    ($($server:ident = $name:literal;)*) => {
        $(mod $server {
            on_every_server!(@stories $server $name
                stories::a_new_member_is_whole_closed_and_keeps_secrets
                stories::members_made_apart_replicate_and_start_closed
                stories::leadership_goes_over_and_comes_back
                stories::tls_is_kept_and_checked
                waiting::commits_wait_and_nobody_is_told_a_lie
                waiting::what_was_received_is_not_thrown_away
                told::what_a_waiting_client_is_told
                relay_logs::what_drops_received_events
                relay_logs::what_nobody_counts_on_may_be_half_there
                copies::a_copy_is_whole_and_a_server_of_its_own
                copies::a_replica_gives_copies_too
                copies::a_copy_that_broke_off_is_no_data_and_is_begun_again
                copies::what_cannot_be_copied_is_refused_before_anything_is_done
                copies::two_copies_of_one_member_wait_for_each_other
                copies::a_clone_checks_whom_it_copies
                copies::a_leader_whose_commits_wait_is_copied_or_says_so
                lag::lag_does_not_lie
                lag::a_delay_on_purpose_is_told_from_a_lag
                lag::a_heartbeat_is_a_leaders_alone
                rejoin::what_becomes_of_an_unacknowledged_tail
                rejoin::a_leader_that_died_with_commits_of_its_own_comes_back
                rejoin::errant_transactions_of_a_replica_are_shown_and_passed_over_by_choice_alone
                rejoin::what_was_received_and_not_applied_is_archived_too
                by_hand::a_wait_that_ends_by_a_timeout_is_noticed_and_ends_no_other
                by_hand::a_replica_that_somebody_opened_is_noticed_closed_and_errant_with_what_was_written
                by_hand::a_delay_that_somebody_gave_a_voter_throws_nothing_away
                by_hand::gaps_that_strict_mode_refuses_put_a_member_nowhere
                leaderships::a_leader_dies_and_its_tail_is_found_and_copied_over
                leaderships::whoever_is_no_voter_acknowledges_nothing
                leaderships::a_barrier_whose_wait_was_ended_proves_nothing
                leaderships::a_barrier_passes_a_voter_that_had_its_row_before_it_counted
                leaderships::what_a_voter_had_before_it_counted_does_not_wait_for_ever
                leaderships::two_voters_must_vouch_where_two_are_asked
                leaderships::a_transaction_of_nobodys_puts_a_member_nowhere
                leaderships::a_server_boots_closed_and_lets_nobody_in
                leaderships::a_server_whose_commits_wait_is_killed_and_told_so
                leaderships::a_replica_that_is_behind_becomes_a_voter_and_loses_nothing
                leaderships::a_replica_that_cannot_apply_vouches_for_what_it_has
            );
        })*
    };
    (@stories $server:ident $name:literal $($module:ident::$story:ident)*) => {
        $(#[test]
        fn $story() {
            let test = concat!(stringify!($server), "::", stringify!($story));
            crate::run::as_dauphin(test, async {
                if let Some(stage) = crate::stage::Stage::new($name).await {
                    Box::pin(crate::$module::$story(&stage)).await;
                }
            });
        })*
    };
}

on_every_server! {
    mysql_9 = "mysql-9";
    mariadb_10_11 = "mariadb-10.11";
    long_mariadb_11 = "mariadb-11";
}

#[test]
fn mixes_are_checked_before_anything_is_changed() {
    run::as_dauphin(
        "mixes_are_checked_before_anything_is_changed",
        versions::mixes_are_checked_before_anything_is_changed(),
    );
}
