//! A template as a tree.

use std::rc::Rc;

/// What a template writes, in this order.
pub(super) type Block = Vec<Statement>;

/// A statement, with the line it stands on.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: u32,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Text outside of tags.
    Text(Rc<str>),
    /// `{{ expression }}`
    Print(Expr),
    /// Conditions with their blocks, and the block of none.
    If(Vec<(Expr, Block)>, Block),
    For(Rc<For>),
    Set(Target, Expr),
    /// `{% set x %}text{% endset %}`, with filters.
    SetBlock(Target, Block, Vec<(Rc<str>, Arguments)>),
    With(Vec<(Target, Expr)>, Block),
    Macro(Rc<Macro>),
    /// A call of a macro that may ask for the block.
    CallBlock(Expr, Rc<Macro>),
    FilterBlock(Vec<(Rc<str>, Arguments)>, Block),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) over: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Block,
    /// Where there is nothing to go over.
    pub(super) otherwise: Block,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Rc<str>,
    /// Names and default values.
    pub(super) parameters: Vec<(Rc<str>, Option<Expr>)>,
    pub(super) body: Block,
}

/// What takes a value.
#[derive(Debug)]
pub(super) enum Target {
    Name(Rc<str>),
    /// Of a namespace.
    Attribute(Rc<str>, Rc<str>),
    Several(Vec<Target>),
}

#[derive(Debug)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Name(Rc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Binary(Operator, Box<(Expr, Expr)>),
    /// `a ~ b ~ c`
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    And(Box<(Expr, Expr)>),
    Or(Box<(Expr, Expr)>),
    /// Condition, value, value where it does not hold.
    Choose(Box<(Expr, Expr, Option<Expr>)>),
    Filter(Box<Expr>, Rc<str>, Arguments),
    /// The last: whether it must not hold.
    Test(Box<Expr>, Rc<str>, Arguments, bool),
    Attribute(Box<Expr>, Rc<str>),
    Item(Box<(Expr, Expr)>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Arguments),
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) by_place: Vec<Expr>,
    pub(super) by_name: Vec<(Rc<str>, Expr)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
