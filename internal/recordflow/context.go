package recordflow

import (
	"container/heap"
	"errors"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// Bounds of the work for one program, and with it of the memory: the kernel accepts a million instructions, and
// most are visited only a few times.
const (
	fewSteps    = 1 << 17 // and some for each instruction, but no more than maxSteps
	stepsEach   = 4
	maxSteps    = 1 << 18
	stepsBlock  = 8 // a visit of a block copies a state, which takes as long as so many instructions
	maxContexts = 1 << 10
	maxDepth    = 8 // MAX_CALL_FRAMES, include/linux/bpf_verifier.h
)

var errTooLong = errors.New("the program takes too many steps to analyze")

// callContext is a function as one call runs it: a function is analyzed for each of its callers.
type callContext struct {
	id    int
	start int // index of the function's first instruction
	fn    *function
	depth int

	parent *callContext // nil if no call is known
	call   int          // index of the call in parent
	caller *node        // block in parent that ends with the call

	nodes map[int]*node // by the index of the first instruction
	exit  *state        // when the function returns; nil if it does not
	// firstDef is added to the index of an instruction for a number that no other context uses for one.
	firstDef int32
}

// calleeKey identifies the context of a called function: the context and the index of the call, and the
// function.
type calleeKey struct {
	from        *callContext
	call, start int
}

// place is an instruction in a context.
type place struct {
	ctx *callContext
	ins int
}

// def returns a number for the instruction that no other has.
func (p place) def() int32 { return p.ctx.firstDef + int32(p.ins) }

// node is a block in a context.
type node struct {
	ctx    *callContext
	start  int
	rank   int32 // of start
	before *state
	joins  int
	queued bool
}

// analysis is the analysis of a program.
type analysis struct {
	*Program
	code      *code
	contexts  []*callContext
	callees   map[calleeKey]*callContext
	queue     queue
	steps     int
	objects   []*object
	objectIDs map[objectKey]int32
	unions    map[[2]int32]int32
	constants [][]int64 // sets of the constants that a number can be
	defs      defSets
	origins   []string // names of the helpers that returned numbers; value.by is an index
	originIDs map[string]uint16
	names     map[int]helperName // of calls, by index
	scope
	current *node // the block that is visited
	scratch state // of the block that is visited
	notes   *notes
}

// newAnalysis returns an analysis of p, with instructions c, that has not begun.
func newAnalysis(p *Program, c *code, s scope) *analysis {
	return &analysis{
		Program: p, code: c, scope: s, callees: map[calleeKey]*callContext{},
		objects: []*object{{}}, objectIDs: map[objectKey]int32{}, unions: map[[2]int32]int32{},
		origins: []string{""}, originIDs: map[string]uint16{},
		names: map[int]helperName{},
		defs:  defSets{ids: map[string]defSet{}, unions: map[[2]defSet]defSet{}},
	}
}

// follow computes the state before each block of each context. Functions that the program is not seen to call
// have a context without a parent.
func (a *analysis) follow() error {
	for _, start := range a.code.starts {
		called := slices.ContainsFunc(a.contexts, func(c *callContext) bool { return c.start == start })
		if called {
			continue
		}
		root := a.newContext(start, nil, 0)
		var args [5]value
		for i := range args {
			args[i] = a.pointerTo(objectKey{kind: argument, at: place{root, start}, n: i})
		}
		if start == 0 {
			args[0] = a.pointerTo(objectKey{kind: programContext})
		}
		a.enter(root, &state{}, args)
		if err := a.visit(); err != nil {
			return err
		}
	}
	return nil
}

// newContext returns a new context of the function that begins at start.
func (a *analysis) newContext(start int, parent *callContext, call int) *callContext {
	c := &callContext{
		id: len(a.contexts), start: start, fn: a.code.funcs[start],
		parent: parent, call: call, nodes: map[int]*node{},
	}
	if parent != nil {
		c.depth = parent.depth + 1
	}
	if n := len(a.contexts); n > 0 {
		c.firstDef = a.contexts[n-1].firstDef + int32(len(a.code.at))
	}
	a.contexts = append(a.contexts, c)
	return c
}

// contextOf returns the context of the function that begins at start for a call; nil if the call cannot be
// followed.
func (a *analysis) contextOf(from *node, call, start int) *callContext {
	key := calleeKey{from.ctx, call, start}
	if c := a.callees[key]; c != nil {
		return c
	}
	for c := from.ctx; c != nil; c = c.parent {
		if c.start == start {
			return nil
		}
	}
	if a.code.funcs[start] == nil || a.notes != nil || a.shallow || len(a.contexts) >= maxContexts || from.ctx.depth+1 >= maxDepth {
		return nil
	}
	c := a.newContext(start, from.ctx, call)
	a.callees[key] = c
	return c
}

// flowTo joins s to the state before a block. It does not change s. In a loop, which comes back from a block of a
// higher rank, it soon widens what still changes.
func (a *analysis) flowTo(c *callContext, start int, s *state, from int32) {
	const patience, most = 3, 64
	n := c.nodes[start]
	switch {
	case n == nil:
		n = &node{ctx: c, start: start, rank: a.code.rank[start], before: s.clone()}
		c.nodes[start] = n
	case !a.merge(n.before, s, n.joins > most || n.joins > patience && from >= n.rank):
		return
	}
	n.joins++
	a.queue.add(n)
}

// visit visits blocks until no state changes.
func (a *analysis) visit() error {
	for len(a.queue) > 0 {
		n := heap.Pop(&a.queue).(*node)
		n.queued = false
		end, s := a.block(n)
		if a.steps > min(fewSteps+stepsEach*len(a.code.at), maxSteps) {
			return errTooLong
		}
		a.leave(n, end, s)
	}
	return nil
}

// block applies the instructions of a block to a copy of the state before it. It returns the block's last
// instruction and the state after it, which is valid until the next call.
func (a *analysis) block(n *node) (end int, s *state) {
	s = &a.scratch
	s.copy(n.before)
	a.steps += stepsBlock
	a.current = n
	for i := n.start; ; {
		ins := a.code.at[i]
		a.steps++
		a.step(place{n.ctx, i}, s, ins)
		next := a.code.after[i]
		if len(next) != 1 || a.code.leaders[next[0]] {
			return i, s
		}
		i = next[0]
	}
}

// leave joins s, the state after a block, to those before the blocks that follow.
func (a *analysis) leave(n *node, end int, s *state) {
	ins := a.code.at[end]
	next := a.code.after[end]
	switch {
	case ins.OpCode.Class() == asm.JumpClass && ins.OpCode.JumpOp() == asm.Exit:
		a.returned(n.ctx, s)
		return
	case isCall(ins):
		if s = a.called(n, end, s); s == nil {
			return
		}
	case len(next) == 2:
		regs := s.regs
		for taken, to := range next {
			s.regs = regs
			if s.refine(ins, taken == 1) {
				a.flowTo(n.ctx, to, s, n.rank)
			}
		}
		return
	}
	for _, to := range next {
		a.flowTo(n.ctx, to, s, n.rank)
	}
}

// returned joins s to the state when c returns.
func (a *analysis) returned(c *callContext, s *state) {
	switch {
	case c.exit == nil:
		c.exit = s.clone()
	case !a.merge(c.exit, s, len(c.nodes) > 0 && c.nodes[c.start].joins > 8):
		return
	}
	if c.caller != nil {
		a.queue.add(c.caller)
	}
}

// queue has the blocks to visit: first those of the functions that were called last, then those that run first.
type queue []*node

func (q *queue) add(n *node) {
	if !n.queued {
		n.queued = true
		heap.Push(q, n)
	}
}

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(n any)   { *q = append(*q, n.(*node)) }
func (q queue) Less(i, j int) bool {
	if q[i].ctx.depth != q[j].ctx.depth {
		return q[i].ctx.depth > q[j].ctx.depth
	}
	return q[i].rank < q[j].rank
}

func (q *queue) Pop() any {
	n := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return n
}
