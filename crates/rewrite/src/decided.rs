//! What becomes of the references of a piece, decided once: the same few images turn up again
//! and again.
//!
//! Never here: the decisions themselves, which are the rules' business.

use std::collections::HashMap;

use super::{
    rules::{Decision, Pin, Rules},
    scanners,
};

/// What was decided so far.
pub(crate) struct Decided<'r> {
    rules: &'r Rules,
    decisions: Vec<Decision>,
    /// Which decision is that of a reference, by [`Pin`].
    of: [HashMap<String, usize>; 2],
    scan_troubles: HashMap<String, Option<String>>,
}

impl<'r> Decided<'r> {
    pub(crate) fn new(rules: &'r Rules) -> Self {
        Self {
            rules,
            decisions: Vec::new(),
            of: Default::default(),
            scan_troubles: HashMap::new(),
        }
    }

    /// What becomes of `literal`.
    pub(crate) fn of(&mut self, literal: &str, pin: Pin) -> &Decision {
        let (decisions, of) = (&mut self.decisions, &mut self.of[pin as usize]);
        let index = of.get(literal).copied().unwrap_or_else(|| {
            decisions.push(self.rules.decide(literal, pin));
            of.insert(literal.to_owned(), decisions.len() - 1);
            decisions.len() - 1
        });
        &decisions[index]
    }

    /// What keeps the scan Jobs of the controller `literal` from starting.
    pub(crate) fn scan_trouble(&mut self, literal: &str) -> Option<String> {
        if let Some(known) = self.scan_troubles.get(literal) {
            return known.clone();
        }
        let rules = self.rules;
        let trouble = match self.of(literal, Pin::Derived) {
            Decision::Replace(to) => scanners::trouble(literal, to, &rules.mapping),
            Decision::Keep => scanners::trouble(literal, literal, &rules.mapping),
            Decision::Unmapped(_) => None,
        };
        let text = trouble.map(|trouble| trouble.text);
        self.scan_troubles.insert(literal.to_owned(), text.clone());
        text
    }
}
