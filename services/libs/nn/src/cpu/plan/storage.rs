//! Which value lies where.

use crate::cpu::draft::{Draft, DraftOp, DraftStep};
use crate::cpu::encoding::Encoding;
use crate::cpu::kernel::path::Path;
use crate::cpu::layout::{Border, Place};
use crate::cpu::plan::Located;

/// The places of all values for one image, and the sizes of the buffers that they share.
#[derive(Debug)]
pub(super) struct Storage {
    places: Vec<Place>,
    /// The buffer of each value.
    slot_of: Vec<usize>,
    /// The value whose memory each value is a part of.
    roots: Vec<usize>,
    /// The values of one image in each buffer.
    pub(super) slots: Vec<usize>,
}

/// Which values are parts of the memory of others: those that are put one behind the other are computed there at once.
#[derive(Debug, Clone)]
struct Nesting {
    /// What a value is a part of, and its first block there.
    parents: Vec<Option<(usize, usize)>>,
}

impl Nesting {
    fn of(draft: &Draft, path: Path) -> Self {
        let mut nesting = Self { parents: vec![None; draft.values.len()] };
        // The last first: what it is made of may be made of parts itself.
        for step in draft.steps.iter().rev() {
            if matches!(step.op, DraftOp::Concat)
                && let Some(better) = nesting.with(draft, step, path)
            {
                nesting = better;
            }
        }
        nesting
    }

    /// With the inputs of a concatenation as parts of its output; none where they cannot be.
    fn with(&self, draft: &Draft, step: &DraftStep, path: Path) -> Option<Self> {
        // Blocks that exchange halves remain neighbours.
        let grain = if path.encoding() == Encoding::F32 { path.lanes() } else { 2 * path.lanes() };
        let mut nesting = self.clone();
        let mut channel = 0;
        for input in &step.inputs {
            // The network's input is not computed, and a value is a part only once.
            if *input == 0 || nesting.parents[*input].is_some() || channel % grain != 0 {
                return None;
            }
            nesting.parents[*input] = Some((step.output, channel / path.lanes()));
            channel += draft.values[*input][0];
        }
        // No step may read the memory that it writes.
        let overlaps = |other: &DraftStep| {
            let root = nesting.root(other.output).0;
            let is_in_place = matches!(other.op, DraftOp::Concat) && nesting.is_in_place(other);
            !is_in_place && other.inputs.iter().any(|input| nesting.root(*input).0 == root)
        };
        (!draft.steps.iter().any(overlaps)).then_some(nesting)
    }

    /// The value that is no part, and the first block there.
    fn root(&self, value: usize) -> (usize, usize) {
        let (mut root, mut block) = (value, 0);
        while let Some((parent, first)) = self.parents[root] {
            (root, block) = (parent, block + first);
        }
        (root, block)
    }

    fn is_in_place(&self, step: &DraftStep) -> bool {
        step.inputs.iter().all(|input| self.parents[*input].is_some_and(|(parent, _)| parent == step.output))
    }
}

impl Storage {
    /// Places the values of `draft`; `border` tells what a step needs around its first input.
    pub(super) fn of(draft: &Draft, path: Path, border: impl Fn(&DraftStep) -> Border) -> Self {
        let nesting = Nesting::of(draft, path);
        let roots: Vec<(usize, usize)> = (0..draft.values.len()).map(|value| nesting.root(value)).collect();
        let mut borders = vec![Border::default(); draft.values.len()];
        for step in &draft.steps {
            let root = roots[step.inputs[0]].0;
            borders[root] = borders[root].max(border(step));
        }
        // The input lies channel by channel as it comes, if only convolutions of all channels read it.
        let reads_planes = |step: &DraftStep| match &step.op {
            DraftOp::Conv(conv) => conv.groups == 1 && step.inputs.get(1) != Some(&0),
            _ => false,
        };
        let is_planar = draft.steps.iter().filter(|step| step.inputs.contains(&0)).all(reads_planes);
        let whole: Vec<Place> = (draft.values.iter().zip(&borders).enumerate())
            .map(|(value, (dims, border))| match value {
                0 if is_planar => Place::planar(*dims, *border),
                _ => Place::blocked(*dims, *border, path),
            })
            .collect();
        let places =
            (draft.values.iter().zip(&roots)).map(|(dims, (root, block))| whole[*root].part(*block, dims[0])).collect();
        let roots: Vec<usize> = roots.into_iter().map(|(root, _)| root).collect();
        let (slot_of_root, slots) = assign(draft, &roots, &whole);
        let slot_of = roots.iter().map(|root| slot_of_root[*root]).collect();
        Self { places, slot_of, roots, slots }
    }

    pub(super) fn located(&self, value: usize) -> Located {
        Located { slot: self.slot_of[value], place: self.places[value] }
    }

    /// Whether the inputs of a concatenation are parts of its output already.
    pub(super) fn is_in_place(&self, step: &DraftStep) -> bool {
        step.inputs.iter().all(|input| self.roots[*input] == self.roots[step.output])
    }
}

/// Gives every root a buffer that nothing uses between its first write and its last read, as few and as small ones as a
/// greedy choice finds.
fn assign(draft: &Draft, roots: &[usize], places: &[Place]) -> (Vec<usize>, Vec<usize>) {
    let n_steps = draft.steps.len();
    // Step 0 is the loading of the input.
    let mut first = vec![usize::MAX; places.len()];
    let mut last = vec![0; places.len()];
    first[roots[0]] = 0;
    for (idx, step) in draft.steps.iter().enumerate() {
        let output = roots[step.output];
        first[output] = first[output].min(idx + 1);
        last[output] = last[output].max(idx + 1);
        for input in &step.inputs {
            last[roots[*input]] = last[roots[*input]].max(idx + 1);
        }
    }
    last[roots[draft.output]] = n_steps + 1;
    let mut order: Vec<usize> = (0..places.len()).filter(|value| roots[*value] == *value).collect();
    order.sort_by_key(|value| first[*value]);
    let mut slot_of = vec![0; places.len()];
    // The size of each buffer, and the last step that uses it.
    let mut slots: Vec<(usize, usize)> = Vec::new();
    for value in order {
        let size = places[value].image;
        let free = slots.iter().enumerate().filter(|(_, (_, end))| *end < first[value]);
        // The smallest that is large enough, else the largest.
        let best = free.min_by_key(|(_, (len, _))| if *len >= size { (0, *len) } else { (1, usize::MAX - *len) });
        let slot = match best.map(|(slot, _)| slot) {
            Some(slot) => slot,
            None => {
                slots.push((0, 0));
                slots.len() - 1
            }
        };
        slots[slot] = (slots[slot].0.max(size), last[value]);
        slot_of[value] = slot;
    }
    (slot_of, slots.into_iter().map(|(len, _)| len).collect())
}
