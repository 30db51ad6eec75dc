//! How many clients there are of each user and to each database, and whether one more may come. The hub counts with it, all shards
//! together, once a client has proved who it is; clients of the console do not count. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;

/// How many there may be; none: as many as come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Room {
    pub(crate) user: Option<usize>,
    pub(crate) database: Option<usize>,
}

/// Why one more may not come.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TooMany {
    #[error("too many clients of user \"{name}\": clients_max_user in [proxy] is {limit}")]
    OfUser { name: String, limit: usize },
    #[error("too many clients for database \"{name}\": clients_max_database in [proxy] is {limit}")]
    ForDatabase { name: String, limit: usize },
}

/// Those that are there.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    users: HashMap<Arc<str>, usize>,
    databases: HashMap<Arc<str>, usize>,
}

/// Under which names a client was counted.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    user: Arc<str>,
    database: Arc<str>,
}

impl Crowd {
    /// Counts a client.
    ///
    /// # Errors
    /// Which limit keeps it out; nothing has changed then.
    pub(crate) fn enter(&mut self, user: &str, database: &str, room: Room) -> Result<Names, TooMany> {
        let there = |all: &HashMap<Arc<str>, usize>, name| all.get(name).copied().unwrap_or(0);
        if let Some(limit) = room.user.filter(|limit| there(&self.users, user) >= *limit) {
            return Err(TooMany::OfUser { name: user.to_owned(), limit });
        }
        if let Some(limit) = room.database.filter(|limit| there(&self.databases, database) >= *limit) {
            return Err(TooMany::ForDatabase { name: database.to_owned(), limit });
        }
        Ok(Names { user: count(&mut self.users, user), database: count(&mut self.databases, database) })
    }

    /// It has left.
    pub(crate) fn leave(&mut self, names: &Names) {
        for (all, name) in [(&mut self.users, &names.user), (&mut self.databases, &names.database)] {
            if let Some(there) = all.get_mut(name) {
                *there -= 1;
                if *there == 0 {
                    all.remove(name);
                }
            }
        }
    }
}

/// One more of this name, which is kept once.
fn count(all: &mut HashMap<Arc<str>, usize>, name: &str) -> Arc<str> {
    let name = all.get_key_value(name).map_or_else(|| Arc::from(name), |(name, _)| Arc::clone(name));
    *all.entry(Arc::clone(&name)).or_default() += 1;
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_counts_for_itself_and_who_leaves_makes_room() {
        let room = |user, database| Room { user, database };
        let mut crowd = Crowd::default();
        let come = |crowd: &mut Crowd, user, database, room| crowd.enter(user, database, room);
        let ann = come(&mut crowd, "ann", "shop", room(Some(1), None)).expect("the first");
        let of_ann = TooMany::OfUser { name: "ann".into(), limit: 1 };
        assert_eq!(come(&mut crowd, "ann", "other", room(Some(1), None)).expect_err("full"), of_ann);
        let bob = come(&mut crowd, "bob", "shop", room(Some(1), Some(2))).expect("another user");
        let for_shop = TooMany::ForDatabase { name: "shop".into(), limit: 2 };
        assert_eq!(come(&mut crowd, "eve", "shop", room(Some(1), Some(2))).expect_err("full"), for_shop);
        assert_eq!(
            for_shop.to_string(),
            "too many clients for database \"shop\": clients_max_database in [proxy] is 2"
        );
        // Who was refused does not count, and who is beyond a lowered limit stays.
        let eve = come(&mut crowd, "eve", "other", room(Some(1), Some(2))).expect("elsewhere");
        come(&mut crowd, "bob", "other", room(Some(1), None)).expect_err("full");
        crowd.leave(&ann);
        let ann = come(&mut crowd, "ann", "shop", room(Some(1), Some(2))).expect("there is room again");
        [ann, bob, eve].iter().for_each(|names| crowd.leave(names));
        assert!(crowd.users.is_empty() && crowd.databases.is_empty(), "{crowd:?}");
    }
}
