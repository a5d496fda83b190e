//! A grammar of characters as one of lexemes, each a regular expression: the fewer they are, the faster is a mask.
//!
//! A lexeme is read as far as it goes. What a grammar of characters means is kept only where that is the one way to read it:
//! where no lexeme followed by a character that may come behind it begins another, longer one. Otherwise each character is a
//! lexeme of its own.

use super::characters::Characters;
use super::gbnf::{Expr, Gbnf};

/// A part of a grammar of lexemes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// The lexeme of this number, which is not empty.
    Lexeme(usize),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
    /// The rule of this number.
    Rule(usize),
}

/// A grammar of lexemes.
#[derive(Debug)]
pub(super) struct Lexemes<'g> {
    grammar: &'g Gbnf,
    /// Rules that stand for regular expressions: each after those that it names.
    pub(super) regular: Vec<usize>,
    is_regular: Vec<bool>,
    can_be_empty: Vec<bool>,
    /// Rules that stand for no character, never.
    is_void: Vec<bool>,
    /// What each lexeme is, where it is not empty.
    pub(super) lexemes: Vec<Expr>,
    /// What each rule stands for, where it is no part of a lexeme.
    pub(super) rules: Vec<Option<Node>>,
}

impl<'g> Lexemes<'g> {
    /// The lexemes of `grammar`: as long as its regular parts, or each a character.
    pub(super) fn of(grammar: &'g Gbnf, by_character: bool) -> Self {
        let n = grammar.rules.len();
        let (mut regular, mut is_regular) = (Vec::new(), vec![false; n]);
        loop {
            let found: Vec<usize> = (0..n)
                .filter(|rule| !is_regular[*rule] && is_regular_expr(&grammar.rules[*rule], &is_regular))
                .collect();
            if found.is_empty() {
                break;
            }
            found.iter().for_each(|rule| is_regular[*rule] = true);
            regular.extend(found);
        }
        let mut can_be_empty = vec![false; n];
        while let Some(rule) =
            (0..n).find(|rule| !can_be_empty[*rule] && is_empty(&grammar.rules[*rule], &can_be_empty))
        {
            can_be_empty[rule] = true;
        }
        let mut is_void = vec![false; n];
        while let Some(rule) =
            (0..n).find(|rule| !is_void[*rule] && stands_for_nothing(&grammar.rules[*rule], &is_void))
        {
            is_void[rule] = true;
        }
        let (lexemes, rules) = (Vec::new(), vec![None; n]);
        let mut this = Lexemes { grammar, regular, is_regular, can_be_empty, is_void, lexemes, rules };
        for rule in 0..n {
            if by_character || !this.is_regular[rule] || rule == grammar.root {
                this.rules[rule] = Some(this.node(&grammar.rules[rule], by_character));
            }
        }
        this
    }

    fn node(&mut self, expr: &Expr, by_character: bool) -> Node {
        if matches!(expr, Expr::One(_)) || (!by_character && is_regular_expr(expr, &self.is_regular)) {
            return self.lexeme(expr.clone());
        }
        match expr {
            Expr::One(_) => self.lexeme(expr.clone()),
            Expr::Rule(rule) => Node::Rule(*rule),
            Expr::Repeat(of, least, most) => Node::Repeat(Box::new(self.node(of, by_character)), *least, *most),
            Expr::Sequence(of) => Node::Sequence(self.parts(of, by_character, Expr::Sequence)),
            Expr::Choice(of) => {
                let (regular, others): (Vec<Expr>, Vec<Expr>) =
                    of.iter().cloned().partition(|of| !by_character && is_regular_expr(of, &self.is_regular));
                let mut nodes = self.parts(&others, by_character, Expr::Choice);
                if !regular.is_empty() {
                    nodes.push(self.lexeme(Expr::Choice(regular)));
                }
                Node::Choice(nodes)
            }
        }
    }

    /// Nodes of `parts`; regular ones that follow each other are one lexeme.
    fn parts(&mut self, parts: &[Expr], by_character: bool, join: fn(Vec<Expr>) -> Expr) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut at = 0;
        while at < parts.len() {
            let is_part = |part: &&Expr| !by_character && is_regular_expr(part, &self.is_regular);
            let n = parts[at..].iter().take_while(is_part).count();
            nodes.push(match n {
                0 => self.node(&parts[at], by_character),
                n => self.lexeme(join(parts[at..at + n].to_vec())),
            });
            at += n.max(1);
        }
        nodes
    }

    fn lexeme(&mut self, expr: Expr) -> Node {
        if stands_for_nothing(&expr, &self.is_void) {
            return Node::Sequence(Vec::new());
        }
        let may_be_empty = is_empty(&expr, &self.can_be_empty);
        let number = self.lexemes.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.lexemes.push(expr);
            self.lexemes.len() - 1
        });
        let lexeme = Node::Lexeme(number);
        if may_be_empty { Node::Repeat(Box::new(lexeme), 0, Some(1)) } else { lexeme }
    }

    /// The characters that may come behind each lexeme.
    pub(super) fn behind(&self) -> Vec<Characters> {
        let first_of_rules = self.first_of_rules();
        let firsts = Firsts { of: self, rules: &first_of_rules };
        let mut behind = Behind {
            firsts,
            lexemes: vec![Characters::default(); self.lexemes.len()],
            rules: vec![Characters::default(); self.rules.len()],
        };
        let mut grows = true;
        while grows {
            grows = false;
            for (rule, node) in self.rules.iter().enumerate() {
                let after = behind.rules[rule].clone();
                grows |= node.as_ref().is_some_and(|node| behind.walk(node, &after));
            }
        }
        behind.lexemes
    }

    /// The characters with which what each rule stands for may begin.
    fn first_of_rules(&self) -> Vec<Characters> {
        let mut rules = vec![Characters::default(); self.grammar.rules.len()];
        let mut grows = true;
        while grows {
            grows = false;
            for (rule, expr) in self.grammar.rules.iter().enumerate() {
                let first = first(expr, &rules, &self.can_be_empty);
                grows |= rules[rule].add(&first);
            }
        }
        rules
    }
}

/// Whether an expression names regular rules alone.
fn is_regular_expr(expr: &Expr, is_regular: &[bool]) -> bool {
    match expr {
        Expr::One(_) => true,
        Expr::Rule(rule) => is_regular[*rule],
        Expr::Repeat(of, ..) => is_regular_expr(of, is_regular),
        Expr::Sequence(of) | Expr::Choice(of) => of.iter().all(|of| is_regular_expr(of, is_regular)),
    }
}

/// Whether an expression may stand for no character.
fn is_empty(expr: &Expr, can_be_empty: &[bool]) -> bool {
    match expr {
        Expr::One(_) => false,
        Expr::Rule(rule) => can_be_empty[*rule],
        Expr::Repeat(of, least, most) => *least == 0 || *most == Some(0) || is_empty(of, can_be_empty),
        Expr::Sequence(of) => of.iter().all(|of| is_empty(of, can_be_empty)),
        Expr::Choice(of) => of.iter().any(|of| is_empty(of, can_be_empty)),
    }
}

/// Whether an expression stands for no character, whatever is chosen.
fn stands_for_nothing(expr: &Expr, is_void: &[bool]) -> bool {
    match expr {
        Expr::One(_) => false,
        Expr::Rule(rule) => is_void[*rule],
        Expr::Repeat(of, _, most) => *most == Some(0) || stands_for_nothing(of, is_void),
        Expr::Sequence(of) | Expr::Choice(of) => of.iter().all(|of| stands_for_nothing(of, is_void)),
    }
}

/// The characters with which `expr` may begin.
fn first(expr: &Expr, rules: &[Characters], can_be_empty: &[bool]) -> Characters {
    match expr {
        Expr::One(set) => set.clone(),
        Expr::Rule(rule) => rules[*rule].clone(),
        Expr::Repeat(_, _, Some(0)) => Characters::default(),
        Expr::Repeat(of, ..) => first(of, rules, can_be_empty),
        Expr::Sequence(of) => {
            let mut set = Characters::default();
            for part in of {
                set.add(&first(part, rules, can_be_empty));
                if !is_empty(part, can_be_empty) {
                    break;
                }
            }
            set
        }
        Expr::Choice(of) => {
            let mut set = Characters::default();
            for of in of {
                set.add(&first(of, rules, can_be_empty));
            }
            set
        }
    }
}

/// With what the nodes of a grammar begin.
struct Firsts<'l> {
    of: &'l Lexemes<'l>,
    rules: &'l [Characters],
}

impl Firsts<'_> {
    fn is_empty(&self, node: &Node) -> bool {
        match node {
            Node::Lexeme(_) => false,
            Node::Rule(rule) => self.of.can_be_empty[*rule],
            Node::Repeat(of, least, _) => *least == 0 || self.is_empty(of),
            Node::Sequence(of) => of.iter().all(|of| self.is_empty(of)),
            Node::Choice(of) => of.iter().any(|of| self.is_empty(of)),
        }
    }

    fn first(&self, node: &Node) -> Characters {
        let mut set = Characters::default();
        match node {
            Node::Lexeme(lexeme) => return first(&self.of.lexemes[*lexeme], self.rules, &self.of.can_be_empty),
            Node::Rule(rule) => return self.rules[*rule].clone(),
            Node::Repeat(of, ..) => return self.first(of),
            Node::Sequence(of) => {
                for part in of {
                    set.add(&self.first(part));
                    if !self.is_empty(part) {
                        break;
                    }
                }
            }
            Node::Choice(of) => {
                for of in of {
                    set.add(&self.first(of));
                }
            }
        }
        set
    }
}

/// What may come behind lexemes and rules, as far as it is known.
struct Behind<'l> {
    firsts: Firsts<'l>,
    lexemes: Vec<Characters>,
    rules: Vec<Characters>,
}

impl Behind<'_> {
    /// Tells the parts of `node` what may come behind them, where `after` may come behind it; whether one learns something.
    fn walk(&mut self, node: &Node, after: &Characters) -> bool {
        match node {
            Node::Lexeme(lexeme) => self.lexemes[*lexeme].add(after),
            Node::Rule(rule) => self.rules[*rule].add(after),
            Node::Repeat(of, _, most) => {
                let mut after = after.clone();
                if *most != Some(1) {
                    after.add(&self.firsts.first(of));
                }
                self.walk(of, &after)
            }
            Node::Choice(of) => of.iter().fold(false, |grows, of| self.walk(of, after) | grows),
            Node::Sequence(of) => {
                let (mut after, mut grows) = (after.clone(), false);
                for part in of.iter().rev() {
                    grows |= self.walk(part, &after);
                    let first = self.firsts.first(part);
                    if self.firsts.is_empty(part) {
                        after.add(&first);
                    } else {
                        after = first;
                    }
                }
                grows
            }
        }
    }
}
