//! A product as plainly as it can be said: a label, and how often it was changed.
//!
//! Whoever writes replaces the label; the same label once more is no change. Looks name the version they saw, so that
//! no change can be lost, made twice or taken back behind two looks that show the same label.

use super::search::{Finding, Operation, Spec, linearize};
use super::{STEPS_MAX, View};
use crate::sim::history::{Ask, Fact, Label, Said};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Sheet {
    version: u64,
    label: Option<Label>,
}

#[derive(Clone, Debug)]
enum Op {
    Writes(Label),
    Shows(u64, Label),
    /// There is no such product.
    Lacks,
}

struct Product;

impl Spec for Product {
    type State = Sheet;
    type Op = Op;

    fn step(sheet: &Sheet, op: &Op) -> Option<Sheet> {
        match op {
            Op::Writes(label) if sheet.label == Some(*label) => Some(*sheet),
            Op::Writes(label) => Some(Sheet { version: sheet.version + 1, label: Some(*label) }),
            Op::Shows(version, label) => (*sheet == Sheet { version: *version, label: Some(*label) }).then_some(*sheet),
            Op::Lacks => sheet.label.is_none().then_some(*sheet),
        }
    }

    fn is_look(op: &Op) -> bool {
        matches!(op, Op::Shows(..) | Op::Lacks)
    }

    fn twin(op: &Op) -> Option<u64> {
        match op {
            Op::Writes(label) => Some(label.price << 32 | label.description_bytes),
            _ => None,
        }
    }
}

/// Whether the answers about one product fit.
pub(super) fn judge(view: &View<'_>) -> Finding {
    let mut operations = Vec::new();
    for place in view.asked {
        let Fact::Asked { ask, .. } = &view.history[*place].fact else { continue };
        add(&mut operations, view, *place, ask);
    }
    linearize::<Product>(Sheet::default(), &operations, STEPS_MAX)
}

fn add(operations: &mut Vec<Operation<Op>>, view: &View<'_>, place: usize, ask: &Ask) {
    let answer = view.answer(place);
    let look = match answer {
        Some((until, _, Said::Says { version, label })) => Some((Op::Shows(*version, *label), until)),
        Some((until, _, Said::No { code })) if code == "not_found" => Some((Op::Lacks, until)),
        _ => None,
    };
    let mut after = None;
    if let Ask::Write { label, once } = ask {
        let write = |until| Operation { what: Op::Writes(*label), from: place, until, after: None };
        let is_done = matches!(answer, Some((_, _, Said::Yes | Said::Says { .. })));
        let attempts = answer.map_or(1, |(_, attempts, _)| attempts as usize);
        after = is_done.then_some(operations.len());
        operations.extend(answer.filter(|_| is_done).map(|(until, ..)| write(Some(until))));
        // Every attempt is a request of its own, unless the shop knows them as one: then a yes is the only one.
        let others = attempts - 1;
        let late = match answer {
            None => 1,
            Some(_) if *once => others.min(usize::from(!is_done)),
            Some(_) => others,
        };
        operations.extend((0..late).map(|_| write(None)));
    }
    operations.extend(look.map(|(what, until)| Operation { what, from: place, until: Some(until), after }));
}
