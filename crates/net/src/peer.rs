//! Who is at the other end of a link: a name and a kind, as its certificate says.

use dauphin_model::{ClusterName, MemberName};
use std::fmt;

/// Ends every name in a certificate, so that no certificate of ours passes for a public host's.
const SUFFIX: &str = "dauphin";

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// A member's agent.
    Member,
    /// A proxy.
    Proxy,
    /// A person's tool.
    Operator,
}

impl PeerKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Proxy => "proxy",
            Self::Operator => "operator",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Member, Self::Proxy, Self::Operator].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A peer's name: the same rule as for members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(String);

/// Why a text is not a peer's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct BadPeerName(#[from] dauphin_model::BadName);

impl PeerName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`BadPeerName`] when the text breaks the rule for names.
    pub fn new(text: &str) -> Result<Self, BadPeerName> {
        Ok(Self::from(&MemberName::new(text)?))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&MemberName> for PeerName {
    fn from(name: &MemberName) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A peer of this cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// What it is.
    pub kind: PeerKind,
    /// Its name.
    pub name: PeerName,
}

impl Peer {
    /// A member.
    #[must_use]
    pub fn member(name: &MemberName) -> Self {
        Self { kind: PeerKind::Member, name: name.into() }
    }

    /// The name in its certificate: `<name>.<kind>.<cluster>.dauphin`.
    #[must_use]
    pub fn certificate_name(&self, cluster: &ClusterName) -> String {
        format!("{}.{}.{cluster}.{SUFFIX}", self.name, self.kind)
    }

    /// The peer and cluster that a name in a certificate tells of.
    #[must_use]
    pub fn from_certificate_name(text: &str) -> Option<(Self, ClusterName)> {
        let mut parts = text.split('.');
        let (name, kind, cluster, end) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if end != SUFFIX || parts.next().is_some() {
            return None;
        }
        let peer = Self { kind: PeerKind::parse(kind)?, name: PeerName::new(name).ok()? };
        Some((peer, ClusterName::new(cluster).ok()?))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_read_back_from_its_certificate_name() {
        let cluster = ClusterName::new("lab").expect("a name");
        let peer = Peer { kind: PeerKind::Proxy, name: PeerName::new("p_1").expect("a name") };
        let name = peer.certificate_name(&cluster);
        assert_eq!(name, "p_1.proxy.lab.dauphin");
        assert_eq!(Peer::from_certificate_name(&name), Some((peer, cluster)));
        for other in ["m1", "m1.member.lab", "m1.member.lab.example", "m1.guest.lab.dauphin", "a.m1.member.lab.dauphin"]
        {
            assert_eq!(Peer::from_certificate_name(other), None, "{other}");
        }
    }
}
