//! Reconciling, level by level: [`agent`] makes an agent's objects what they should be, [`config`] prepares a FluxConfig and
//! tells its status. Both look at the whole of what should be and what is, so that it does not matter what was missed.

pub mod agent;
mod apply;
pub mod config;
mod dependencies;
mod dereference;
pub(crate) mod guests;
pub mod health;
mod members;
#[cfg(test)]
mod testing;

use std::collections::HashMap;

use crate::{
    object::{ConfigKey, Key, Owner},
    status::AgentHealth,
};

/// What a reconcile of an agent tells to the FluxConfigs that it serves.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The FluxConfigs that it looked at, and the version of their plan.
    pub seen: HashMap<ConfigKey, u64>,
    /// What is to be removed and is still there.
    pub waiting: Vec<(Owner, Key)>,
    /// What is in the way, for whom, in words for people.
    pub blocked: Vec<(Owner, String)>,
    /// What somebody else keeps changing, for whom, in words for people.
    pub contested: Vec<(Owner, String)>,
    /// FluxConfigs that are held back, and the names of those that come first.
    pub waits_for: HashMap<ConfigKey, String>,
    /// The agent.
    pub health: AgentHealth,
}

impl Report {
    /// Whether a FluxConfig's own plan was looked at.
    pub fn has_seen(&self, config: &ConfigKey, version: u64) -> bool {
        self.seen.get(config).is_some_and(|seen| *seen >= version)
    }

    /// What a FluxConfig waits for: its own objects, and those that go with it.
    pub fn waiting_for<'r>(&'r self, owner: &'r Owner) -> impl Iterator<Item = &'r Key> {
        self.waiting.iter().filter(|(of, _)| owner.within(of)).map(|(_, key)| key)
    }

    /// What is in a FluxConfig's way.
    pub fn blocked_for<'r>(&'r self, owner: &'r Owner) -> impl Iterator<Item = &'r str> {
        self.blocked.iter().filter(|(of, _)| owner.within(of)).map(|(_, text)| text.as_str())
    }

    /// What somebody else keeps changing of what a FluxConfig stands on.
    pub fn contested_for<'r>(&'r self, owner: &'r Owner) -> impl Iterator<Item = &'r str> {
        self.contested.iter().filter(|(of, _)| owner.within(of)).map(|(_, text)| text.as_str())
    }
}
