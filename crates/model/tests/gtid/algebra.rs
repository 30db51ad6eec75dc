//! The algebra's laws, against a set that lists every transaction by itself.

use crate::{A, B, set};
use dauphin_model::gtid::{Interval, Intervals, Source, Tag};
use dauphin_model::{GtidSet, Held, Standing};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Every transaction by itself: source and number.
type Naive = BTreeSet<(Source, u64)>;

fn sources() -> Vec<Source> {
    let uuids = [A, B].map(|text| text.parse().expect("a UUID"));
    let tags = [None, Tag::new("x"), Tag::new("y")];
    uuids.into_iter().flat_map(|uuid| tags.clone().map(|tag| Source { uuid, tag })).collect()
}

/// Runs over few numbers, so that they meet in every way.
fn runs() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    vec((0..6_usize, 1..40_u64, 0..6_u64), 0..14)
}

fn made(runs: &[(usize, u64, u64)]) -> (GtidSet, Naive) {
    let sources = sources();
    let mut set = GtidSet::default();
    let mut naive = Naive::new();
    for (source, first, more) in runs {
        let source = sources[*source].clone();
        set.add(source.clone(), &Intervals::of(Interval::new(*first, first + more).expect("in range")));
        naive.extend((*first..=first + more).map(|n| (source.clone(), n)));
    }
    (set, naive)
}

fn listed(set: &GtidSet) -> Naive {
    let all = set.sources().flat_map(|(source, runs)| {
        runs.runs().iter().flat_map(move |run| (run.first()..=run.last()).map(move |n| (source.clone(), n)))
    });
    all.collect()
}

/// Sorted, apart, nothing empty: the one form of a set, so that equal sets are equal values.
fn is_canonical(set: &GtidSet) -> bool {
    set.sources()
        .all(|(_, runs)| !runs.is_empty() && runs.runs().windows(2).all(|pair| pair[0].last() + 1 < pair[1].first()))
}

proptest! {
    #[test]
    fn the_algebra_is_that_of_sets(a in runs(), b in runs(), c in runs()) {
        let ((a, na), (b, nb), (c, _)) = (made(&a), made(&b), made(&c));
        prop_assert_eq!(&listed(&a), &na);
        prop_assert_eq!(a.count(), na.len() as u64);
        let (union, both, left) = (a.union(&b), a.intersect(&b), a.subtract(&b));
        for made in [&a, &union, &both, &left] {
            prop_assert!(is_canonical(made), "{made}");
        }
        prop_assert_eq!(listed(&union), na.union(&nb).cloned().collect::<Naive>());
        prop_assert_eq!(listed(&both), na.intersection(&nb).cloned().collect::<Naive>());
        prop_assert_eq!(listed(&left), na.difference(&nb).cloned().collect::<Naive>());
        prop_assert_eq!(a.holds(&b), nb.is_subset(&na));
        prop_assert_eq!(a.compare(&b) == Standing::Equal, na == nb);
        prop_assert_eq!(a.compare(&b), b.compare(&a).mirrored());
        // the laws that elections lean on
        prop_assert_eq!(&union, &b.union(&a));
        prop_assert_eq!(union.union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(&a.union(&a), &a);
        prop_assert!(union.holds(&a) && union.holds(&b) && a.holds(&both) && a.holds(&left));
        prop_assert_eq!(&left.union(&both), &a);
        prop_assert!(left.intersect(&b).is_empty());
        prop_assert_eq!(a.holds(&b), b.subtract(&a).is_empty());
        prop_assert_eq!(a.join(&b), Some(union));
    }

    #[test]
    fn every_set_is_read_back_from_its_text_and_its_bytes(a in runs()) {
        let (a, _) = made(&a);
        prop_assert_eq!(a.to_string().parse::<GtidSet>(), Ok(a.clone()));
        prop_assert_eq!(a.on_one_line().parse::<GtidSet>(), Ok(a.clone()));
        prop_assert_eq!(GtidSet::from_bytes(&a.to_bytes()), Ok(a));
    }

    #[test]
    fn has_is_membership(a in runs(), source in 0..6_usize, number in 0..50_u64) {
        let (a, naive) = made(&a);
        let source = sources()[source].clone();
        prop_assert_eq!(a.has(&source, number), naive.contains(&(source, number)));
    }
}

#[test]
fn sets_are_partially_ordered() {
    let check = |a: &str, b: &str, expected| assert_eq!(set(a).compare(&set(b)), expected, "{a} against {b}");
    check("", "", Standing::Equal);
    check("a:1-5", "a:1-5", Standing::Equal);
    check("", "a:1", Standing::Behind);
    check("a:1-5", "a:1-7", Standing::Behind);
    check("a:1-7 b:1", "a:1-5", Standing::Ahead);
    check("a:1-5 b:1", "a:1-7", Standing::Diverged);
    check("a:1-5", "a:x:1-5", Standing::Diverged);
    check("a:1-3:5", "a:1-4", Standing::Diverged);
}

#[test]
fn errant_transactions_are_what_the_leader_lacks_and_no_writer_numbered() {
    let (replica, leader) = (set("a:1-105 b:1-3:7"), set("a:1-100 b:1-3"));
    let writer = A.parse().expect("a UUID");
    assert_eq!(replica.errant(&leader, &[]), set("a:101-105 b:7"), "the look at the leader is the older one");
    assert_eq!(replica.errant(&leader, &[writer]), set("b:7"));
    assert!(leader.errant(&replica, &[]).is_empty());
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let largest = set("a:9223372036854775806");
    let all = set("a:1-9223372036854775806");
    assert_eq!(all.subtract(&largest), set("a:1-9223372036854775805"));
    assert_eq!(all.subtract(&largest).union(&largest), all);
    assert_eq!(all.union(&set("b:1-9223372036854775806 a:x:1-9223372036854775806")).count(), u64::MAX, "more than fit");
    assert_eq!(GtidSet::from_bytes(&all.to_bytes()), Ok(all));
}
