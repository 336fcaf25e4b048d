//! What a change of policies, clusters or labels cuts off: FluxConfigs that are admitted now and would not be any more.

use sluicegate_crds::FluxConfig;
use sluicegate_policy::{Placer, text, violations};

use super::Budget;
use crate::snapshot::Snapshot;

/// FluxConfigs that are named; the others are counted.
const NAMED: usize = 3;

/// FluxConfigs that a change cuts off.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CutOff {
    count: usize,
    named: Vec<String>,
    /// There was no time to ask about all.
    more: bool,
}

impl CutOff {
    /// The same in words; none where nothing is cut off.
    pub(super) fn warning(&self) -> Option<String> {
        if self.count == 0 {
            return self.more.then(|| "there was no time to find out which FluxConfigs this cuts off".to_owned());
        }
        let least = if self.more { "at least " } else { "" };
        let rest = if self.count > self.named.len() { ", …" } else { "" };
        let counted = text::counted(self.count, "FluxConfig that is", "FluxConfigs that are");
        Some(format!("this cuts off {least}{counted} admitted now: {}{rest}", self.named.join(", ")))
    }
}

/// Asks the engine about every FluxConfig that is concerned, before and after.
pub(super) fn cut_off(
    before: &Snapshot,
    after: &Snapshot,
    concerned: impl Fn(&FluxConfig) -> bool,
    budget: Budget,
) -> CutOff {
    let mut found = CutOff::default();
    let (mut placer, mut placer_after) =
        (Placer::new(&before.policies, &before.facts), Placer::new(&after.policies, &after.facts));
    for ((home, name), config) in &*before.configs {
        if budget.is_spent() {
            found.more = true;
            break;
        }
        if !concerned(config)
            || violations(placer_after.place(config), &after.facts).is_empty()
            || !violations(placer.place(config), &before.facts).is_empty()
        {
            continue;
        }
        found.count += 1;
        if found.named.len() < NAMED {
            found.named.push(format!("{home}/{name}"));
        }
    }
    found
}
