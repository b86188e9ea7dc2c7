package filter

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
)

// reference is an expression with its value, computed by math/big. A bool has the value 0 or 1.
type reference struct {
	text  string
	value func() (*big.Rat, error)
}

var errReference = errors.New("no value")

// generator generates random expressions over a random record.
type generator struct {
	*rand.Rand
	r record
}

// edges are values at which arithmetic often goes wrong.
var edges = []uint64{0, 1, 2, 3, 10, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<63 - 1, 1 << 63, 1<<63 + 1, math.MaxUint64 - 1, math.MaxUint64}

func (g *generator) word() uint64 {
	if g.IntN(4) == 0 {
		return g.Uint64() >> g.IntN(64)
	}
	return edges[g.IntN(len(edges))]
}

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	g.r = record{
		A: g.word(), Max: g.word(), S: g.word(), Count: g.word(), U: uint32(g.word()), I: uint32(g.word()),
		List: [3]uint64{g.word(), g.word(), g.word()}, F: float64(g.word()), Wide: [2]uint64{g.word(), g.word()},
	}
	return g
}

func unsigned(v uint64) *big.Rat { return new(big.Rat).SetInt(new(big.Int).SetUint64(v)) }

func known(text string, v *big.Rat) reference {
	return reference{text, func() (*big.Rat, error) { return v, nil }}
}

func (g *generator) leaf() reference {
	r := g.r
	wide := new(big.Int).SetUint64(r.Wide[1])
	wide.Lsh(wide, 64).Or(wide, new(big.Int).SetUint64(r.Wide[0]))
	fields := []reference{
		known("a", unsigned(r.A)), known("data.max", unsigned(r.Max)), known("s", big.NewRat(int64(r.S), 1)), known("count", big.NewRat(int64(r.Count), 1)),
		known("u", big.NewRat(int64(r.U), 1)), known("i", big.NewRat(int64(int32(r.I)), 1)), known("wide", new(big.Rat).SetInt(wide)),
		known("list[0]", unsigned(r.List[0])), known("last(list)", unsigned(r.List[2])), known("len(list)", big.NewRat(3, 1)),
	}
	if n := g.IntN(len(fields) + 4); n < len(fields) {
		return fields[n]
	}
	v := g.word()
	return known(fmt.Sprintf([]string{"%d", "%#x", "%#b"}[g.IntN(3)], v), unsigned(v))
}

// binaryReference returns the reference for a binary expression of a and b.
func binaryReference(text string, a, b reference, combine combination) reference {
	return reference{fmt.Sprintf(text, a.text, b.text), func() (*big.Rat, error) {
		x, err := a.value()
		if err != nil {
			return nil, err
		}
		y, err := b.value()
		if err != nil {
			return nil, err
		}
		return combine(x, y)
	}}
}

func truthOf(b bool) *big.Rat {
	if b {
		return big.NewRat(1, 1)
	}
	return new(big.Rat)
}

// combination computes a binary operation. It returns nil for a division by zero and for bit operations
// on fractions.
type combination func(x, y *big.Rat) (*big.Rat, error)

func exact(f func(z, x, y *big.Rat) *big.Rat) combination {
	return func(x, y *big.Rat) (*big.Rat, error) { return f(new(big.Rat), x, y), nil }
}

func ofIntegers(f func(z, x, y *big.Int) *big.Int) combination {
	return func(x, y *big.Rat) (*big.Rat, error) {
		if !x.IsInt() || !y.IsInt() {
			return nil, errReference
		}
		return new(big.Rat).SetInt(f(new(big.Int), x.Num(), y.Num())), nil
	}
}

func divided(combine combination) combination {
	return func(x, y *big.Rat) (*big.Rat, error) {
		if y.Sign() == 0 {
			return nil, errReference
		}
		return combine(x, y)
	}
}

func pick(sign int) combination {
	return func(x, y *big.Rat) (*big.Rat, error) {
		if x.Cmp(y) == sign {
			return x, nil
		}
		return y, nil
	}
}

func order(holds func(order int) bool) combination {
	return func(x, y *big.Rat) (*big.Rat, error) { return truthOf(holds(x.Cmp(y))), nil }
}

// arithmeticReferences are the operators whose result is a number.
var arithmeticReferences = []struct {
	text    string
	combine combination
}{
	{"(%s + %s)", exact((*big.Rat).Add)},
	{"(%s - %s)", exact((*big.Rat).Sub)},
	{"(%s * %s)", exact((*big.Rat).Mul)},
	{"(%s / %s)", divided(exact((*big.Rat).Quo))},
	{"(%s %% %s)", divided(ofIntegers((*big.Int).Rem))},
	{"max(%s, %s)", pick(1)},
	{"min(%s, [%s])", pick(-1)},
	{"(-%s + 0 * %s)", func(x, _ *big.Rat) (*big.Rat, error) { return new(big.Rat).Neg(x), nil }},
	{"(abs(%s) - %s)", func(x, y *big.Rat) (*big.Rat, error) { return new(big.Rat).Sub(new(big.Rat).Abs(x), y), nil }},
	{"sum([%s, %s], # * 2)", func(x, y *big.Rat) (*big.Rat, error) {
		s := new(big.Rat).Add(x, y)
		return s.Add(s, s), nil
	}},
	{"bitand(%s, %s)", ofIntegers((*big.Int).And)},
	{"bitxor(%s, %s)", ofIntegers((*big.Int).Xor)},
}

// number returns a random expression whose value is a number.
func (g *generator) number(depth int) reference {
	if depth == 0 {
		return g.leaf()
	}
	a, b := g.number(depth-1), g.number(depth-1)
	if i := g.IntN(len(arithmeticReferences) + 1); i < len(arithmeticReferences) {
		return binaryReference(arithmeticReferences[i].text, a, b, arithmeticReferences[i].combine)
	}
	condition := g.truth(depth - 1)
	return reference{fmt.Sprintf("(%s ? %s : %s)", condition.text, a.text, b.text), func() (*big.Rat, error) {
		v, err := condition.value()
		if err != nil {
			return nil, err
		}
		if v.Sign() != 0 {
			return a.value()
		}
		return b.value()
	}}
}

// comparisonReferences are the operators whose result is a bool.
var comparisonReferences = []struct {
	text    string
	combine combination
}{
	{"(%s == %s)", order(func(o int) bool { return o == 0 })},
	{"(%s != %s)", order(func(o int) bool { return o != 0 })},
	{"(%s < %s)", order(func(o int) bool { return o < 0 })},
	{"(%s <= %s)", order(func(o int) bool { return o <= 0 })},
	{"(%s > %s)", order(func(o int) bool { return o > 0 })},
	{"(%s >= %s)", order(func(o int) bool { return o >= 0 })},
	{"(%s in [7, %s])", func(x, y *big.Rat) (*big.Rat, error) {
		return truthOf(x.Cmp(y) == 0 || x.Cmp(big.NewRat(7, 1)) == 0), nil
	}},
	{"(%s in 5..%s)", func(x, y *big.Rat) (*big.Rat, error) {
		if !y.IsInt() {
			return nil, errReference
		}
		return truthOf(x.IsInt() && x.Cmp(big.NewRat(5, 1)) >= 0 && x.Cmp(y) <= 0), nil
	}},
}

// truth returns a random expression whose value is a bool.
func (g *generator) truth(depth int) reference {
	if depth > 0 && g.IntN(3) == 0 {
		return g.logical(depth - 1)
	}
	a, b := g.number(depth), g.number(depth)
	if i := g.IntN(len(comparisonReferences) + 1); i < len(comparisonReferences) {
		return binaryReference(comparisonReferences[i].text, a, b, comparisonReferences[i].combine)
	}
	return binaryReference("any(list, # - %s > %s)", a, b, func(x, y *big.Rat) (*big.Rat, error) {
		for _, v := range g.r.List {
			if new(big.Rat).Sub(unsigned(v), x).Cmp(y) > 0 {
				return truthOf(true), nil
			}
		}
		return truthOf(false), nil
	})
}

// logical returns a random "and" or "or". Its value ignores the second operand if the first decides.
func (g *generator) logical(depth int) reference {
	a, b := g.truth(depth), g.truth(depth)
	and := g.IntN(2) == 0
	text := "(%s || !%s)"
	if and {
		text = "(%s && !%s)"
	}
	return reference{fmt.Sprintf(text, a.text, b.text), func() (*big.Rat, error) {
		x, err := a.value()
		if err != nil || (x.Sign() != 0) != and {
			return x, err
		}
		y, err := b.value()
		if err != nil {
			return nil, err
		}
		return truthOf(y.Sign() == 0), nil
	}}
}
