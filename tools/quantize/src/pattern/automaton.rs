//! From the tree of an expression to a deterministic automaton.
//!
//! A state is a list of places in the expression, the preferred one first (Cox 2010, "Regular Expression Matching: the
//! Virtual Machine Approach"). What is asked of the next character is answered when that character is read, so a match is
//! known one character late: the transition that reads it says that a match ended before it. Places behind one that has
//! matched are dropped, since a match that begins at the same character and is preferred has been found.

use std::collections::HashMap;

use regex_syntax::hir::ClassUnicode;
use whit::tokenizer::Pattern;

use super::classes::Partition;
use super::node::Node;

/// Places in an expression, at most.
const MAX_PLACES: usize = 4096;
/// States, at most.
const MAX_STATES: usize = 8192;
/// Places in all states together, and places that are looked at to find them, at most: published patterns take some
/// thousands and some hundred thousands.
const MAX_LISTED: usize = 1 << 17;
const MAX_VISITS: usize = 1 << 27;

/// What is done at a place.
#[derive(Debug)]
enum Place {
    /// Reads one character of a set and goes on at the next place.
    One { set: usize, next: usize },
    /// Goes on where the next character is, or with `negated` is not, of a set.
    Ahead { set: usize, negated: bool, next: usize },
    /// Goes on at each of these, the first one preferred.
    Fork(Vec<usize>),
    /// The expression ends here.
    Match,
}

/// An expression as places.
#[derive(Default)]
struct Program {
    places: Vec<Place>,
    sets: Vec<ClassUnicode>,
}

impl Program {
    fn set(&mut self, set: &ClassUnicode) -> usize {
        self.sets.iter().position(|other| other == set).unwrap_or_else(|| {
            self.sets.push(set.clone());
            self.sets.len() - 1
        })
    }

    fn place(&mut self, place: Place) -> Result<usize, String> {
        if self.places.len() == MAX_PLACES {
            return Err(format!("an expression of more than {MAX_PLACES} places is not supported"));
        }
        self.places.push(place);
        Ok(self.places.len() - 1)
    }

    /// Lays out `node` before the place `next`, and gives the place where it begins.
    fn add(&mut self, node: &Node, next: usize) -> Result<usize, String> {
        match node {
            Node::One(set) => {
                let set = self.set(set);
                self.place(Place::One { set, next })
            }
            Node::Ahead { set, negated } => {
                let set = self.set(set);
                self.place(Place::Ahead { set, negated: *negated, next })
            }
            Node::Row(nodes) => nodes.iter().rev().try_fold(next, |next, node| self.add(node, next)),
            Node::Either(nodes) => {
                let ways = nodes.iter().map(|node| self.add(node, next)).collect::<Result<_, _>>()?;
                self.place(Place::Fork(ways))
            }
            Node::Repeat { node, least, most, greedy } => {
                let ordered = |again: usize, on: usize| if *greedy { vec![again, on] } else { vec![on, again] };
                let mut at = match most {
                    None => {
                        let fork = self.place(Place::Fork(Vec::new()))?;
                        let again = self.add(node, fork)?;
                        self.places[fork] = Place::Fork(ordered(again, next));
                        fork
                    }
                    Some(most) => {
                        let mut at = next;
                        for _ in *least..*most {
                            let again = self.add(node, at)?;
                            at = self.place(Place::Fork(ordered(again, next)))?;
                        }
                        at
                    }
                };
                for _ in 0..*least {
                    at = self.add(node, at)?;
                }
                Ok(at)
            }
        }
    }

    /// From the places of a state and the class of the next character, `None` at the end: the places where reading goes on,
    /// each with its set, and whether a match ends here.
    fn follow(&self, state: &[usize], class: Option<&[bool]>) -> (Vec<(usize, usize)>, bool) {
        let mut seen = vec![false; self.places.len()];
        let mut reading = Vec::new();
        let mut stack: Vec<usize> = state.iter().rev().copied().collect();
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match &self.places[at] {
                Place::One { set, next } => reading.push((*set, *next)),
                Place::Ahead { set, negated, next } => {
                    if class.is_some_and(|class| class[*set]) != *negated {
                        stack.push(*next);
                    }
                }
                Place::Fork(ways) => stack.extend(ways.iter().rev()),
                Place::Match => return (reading, true),
            }
        }
        (reading, false)
    }
}

/// The automaton of an expression.
pub(super) fn pattern(node: &Node) -> Result<Pattern, String> {
    let mut program = Program::default();
    let end = program.place(Place::Match)?;
    let start = program.add(node, end)?;
    let Partition { ranges, members } = Partition::of(&program.sets)
        .ok_or("an expression with more than 255 classes of characters is not supported")?;
    let n_classes = members.len();
    // The first state is the one in which nothing can match any more, the second the start.
    let mut states: Vec<Vec<usize>> = vec![Vec::new(), vec![start]];
    let mut numbers: HashMap<Vec<usize>, u16> = HashMap::from([(Vec::new(), 0), (vec![start], 1)]);
    let mut transitions = Vec::new();
    let (mut listed, mut visits) = (1, 0);
    let mut at = 0;
    while at < states.len() {
        let state = states[at].clone();
        for class in members.iter().map(Some).chain([None]) {
            visits += program.places.len();
            if visits > MAX_VISITS || listed > MAX_LISTED {
                return Err("an expression that takes this long to compile is not supported".into());
            }
            let (reading, matched) = program.follow(&state, class.map(Vec::as_slice));
            let mut next: Vec<usize> = Vec::new();
            for (_, place) in reading.iter().filter(|(set, _)| class.is_some_and(|class| class[*set])) {
                if !next.contains(place) {
                    next.push(*place);
                }
            }
            let number = match numbers.get(&next) {
                Some(number) => *number,
                None if states.len() == MAX_STATES => {
                    return Err(format!("an expression that needs more than {MAX_STATES} states is not supported"));
                }
                None => {
                    let number = states.len() as u16;
                    listed += next.len();
                    states.push(next.clone());
                    numbers.insert(next, number);
                    number
                }
            };
            transitions.push(if matched { number | Pattern::MATCHED } else { number });
        }
        at += 1;
    }
    if transitions[n_classes + 1..2 * (n_classes + 1)].iter().any(|word| word & Pattern::MATCHED != 0) {
        return Err("an expression that matches where it reads nothing is not supported".into());
    }
    let mut ascii = [0; 128];
    for (c, class) in (0..).zip(&mut ascii) {
        *class = ranges[ranges.partition_point(|(first, _)| *first <= c) - 1].1;
    }
    let ranges = ranges.into_iter().filter(|(first, _)| *first >= 0x80).collect();
    Ok(Pattern { n_classes, ascii, ranges, transitions })
}
