package filter

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
)

// A number is an int, a uint64, a *big.Int, a fraction or *big.Rat (a quotient of integers that is not
// an integer), or a float64. Arithmetic is exact except with float64. An integer result is normal: it
// has the first of the types int, uint64 and *big.Int that can hold it.

// maxBits bounds the size of integers, so that 9**9**9 terminates.
const maxBits = 4096

var (
	errTooLarge = fmt.Errorf("a number has more than %d bits", maxBits)
	errZero     = errors.New("division by zero")
)

// normal returns x as an int, uint64 or *big.Int: the first of them that can hold it.
func normal(x *big.Int) (any, error) {
	switch {
	case x.IsInt64():
		return int(x.Int64()), nil
	case x.IsUint64():
		return x.Uint64(), nil
	case x.BitLen() > maxBits:
		return nil, errTooLarge
	}
	return x, nil
}

// normalRat returns x as an integer, fraction or *big.Rat: the first of them that can hold it.
func normalRat(x *big.Rat) (any, error) {
	if x.IsInt() {
		return normal(new(big.Int).Set(x.Num()))
	}
	if x.Num().BitLen() > maxBits || x.Denom().BitLen() > maxBits {
		return nil, errTooLarge
	}
	return x, nil
}

// integer returns the value of an integer. The caller must not change it.
func integer(v any) (*big.Int, bool) {
	switch v := v.(type) {
	case int:
		return big.NewInt(int64(v)), true
	case uint64:
		return new(big.Int).SetUint64(v), true
	case *big.Int:
		return v, true
	}
	return nil, false
}

// rational returns the value of a number that is not a float. The caller must not change it.
func rational(v any) (*big.Rat, bool) {
	switch v := v.(type) {
	case *big.Rat:
		return v, true
	case fraction:
		return big.NewRat(int64(v.num), int64(v.denom)), true
	}
	if i, ok := integer(v); ok {
		return new(big.Rat).SetInt(i), true
	}
	return nil, false
}

func numeric(v any) bool {
	_, isFloat := v.(float64)
	_, isRational := rational(v)
	return isFloat || isRational
}

// whole reports whether a number is an integer or a float without a fractional part.
func whole(v any) bool {
	if f, ok := v.(float64); ok {
		return f == math.Trunc(f)
	}
	_, ok := integer(v)
	return ok
}

// float converts a number to a float. It returns an error for an integer that no float equals. A
// quotient is rounded to the nearest float.
func float(v any) (float64, error) {
	switch v := v.(type) {
	case float64:
		return v, nil
	case *big.Rat, fraction:
		r, _ := rational(v)
		f, _ := r.Float64()
		return f, nil
	}
	i, ok := integer(v)
	if !ok {
		return 0, fmt.Errorf("%s is not a number", kindOf(v))
	}
	f, accuracy := new(big.Float).SetInt(i).Float64()
	if accuracy != big.Exact {
		return 0, fmt.Errorf("no floating-point number equals %v", i)
	}
	return f, nil
}

// compareNumbers compares two numbers. It returns false for a NaN and for a value that is not a number.
func compareNumbers(a, b any) (order int, ok bool) {
	switch x := a.(type) {
	case int:
		switch y := b.(type) {
		case int:
			return cmp.Compare(x, y), true
		case uint64:
			if x < 0 {
				return -1, true
			}
			return cmp.Compare(uint64(x), y), true
		}
	case uint64:
		switch y := b.(type) {
		case uint64:
			return cmp.Compare(x, y), true
		case int:
			if y < 0 {
				return 1, true
			}
			return cmp.Compare(x, uint64(y)), true
		}
	case fraction:
		if order, ok = x.compare(b); ok {
			return order, true
		}
	case float64:
		if y, ok := b.(float64); ok {
			return cmp.Compare(x, y), x == x && y == y
		}
		order, ok = compareFloat(b, x)
		return -order, ok
	}
	switch y := b.(type) {
	case float64:
		return compareFloat(a, y)
	case fraction:
		if order, ok = y.compare(a); ok {
			return -order, true
		}
	}
	x, okX := rational(a)
	y, okY := rational(b)
	if !okX || !okY {
		return 0, false
	}
	return x.Cmp(y), true
}

// compareFloat compares v, a number that is not a float, with the float f. It compares an integer
// exactly. It rounds a quotient to the nearest float first.
func compareFloat(v any, f float64) (order int, ok bool) {
	if math.IsNaN(f) {
		return 0, false
	}
	i, ok := integer(v)
	if !ok {
		nearest, err := float(v)
		return cmp.Compare(nearest, f), err == nil
	}
	return new(big.Float).SetInt(i).Cmp(big.NewFloat(f)), true
}

// arithmetic applies an operator to two numbers.
func arithmetic(operator string, a, b any) (any, error) {
	if x, ok := word(a); ok {
		if y, ok := word(b); ok {
			if v, ok := small(operator, x, y); ok {
				return v, nil
			}
			if operator == "/" && y > 0 {
				return fraction{x, y}, nil
			}
		}
	}
	if x, ok := natural(a); ok {
		if y, ok := natural(b); ok {
			if v, ok := naturals(operator, x, y); ok {
				return v, nil
			}
		}
	}
	_, floatA := a.(float64)
	_, floatB := b.(float64)
	if floatA || floatB {
		return floats(operator, a, b)
	}
	x, okX := integer(a)
	y, okY := integer(b)
	if okX && okY {
		return integers(operator, x, y)
	}
	p, okP := rational(a)
	q, okQ := rational(b)
	if !okP || !okQ {
		return nil, fmt.Errorf("operator %s does not take %s and %s", operator, kindOf(a), kindOf(b))
	}
	if operator == "**" {
		return power(p, y)
	}
	return quotients(operator, p, q)
}

func integers(operator string, x, y *big.Int) (any, error) {
	switch operator {
	case "+":
		return normal(new(big.Int).Add(x, y))
	case "-":
		return normal(new(big.Int).Sub(x, y))
	case "*":
		return normal(new(big.Int).Mul(x, y))
	case "**":
		return power(new(big.Rat).SetInt(x), y)
	}
	if y.Sign() == 0 {
		return nil, errZero
	}
	if operator == "%" {
		return normal(new(big.Int).Rem(x, y))
	}
	return normalRat(new(big.Rat).SetFrac(x, y))
}

func quotients(operator string, x, y *big.Rat) (any, error) {
	switch operator {
	case "+":
		return normalRat(new(big.Rat).Add(x, y))
	case "-":
		return normalRat(new(big.Rat).Sub(x, y))
	case "*":
		return normalRat(new(big.Rat).Mul(x, y))
	case "/":
		if y.Sign() == 0 {
			return nil, errZero
		}
		return normalRat(new(big.Rat).Quo(x, y))
	}
	return nil, fmt.Errorf("operator %s does not take a fraction", operator)
}

// power raises x to an integer power. A nil exponent means that the exponent was not an integer, which
// is an error.
func power(x *big.Rat, exponent *big.Int) (any, error) {
	if exponent == nil {
		return nil, errors.New("the exponent of ** is a fraction")
	}
	one := big.NewInt(1)
	if !exponent.IsInt64() {
		switch { // the exponent is huge: only 0, 1 and -1 have a result that is neither too large nor too close to 0
		case x.Sign() == 0 && exponent.Sign() > 0:
			return 0, nil
		case x.IsInt() && x.Num().CmpAbs(one) == 0:
			exponent = new(big.Int).And(exponent, one)
		default:
			return nil, errTooLarge
		}
	}
	n := exponent.Int64()
	size := big.NewInt(int64(max(x.Num().BitLen(), x.Denom().BitLen()) - 1))
	if size.Mul(size, new(big.Int).Abs(exponent)).Cmp(big.NewInt(maxBits)) > 0 {
		return nil, errTooLarge
	}
	num, denom := x.Num(), x.Denom()
	if n < 0 {
		if num.Sign() == 0 {
			return nil, errZero
		}
		num, denom = denom, num
	}
	e := new(big.Int).Abs(exponent)
	return normalRat(new(big.Rat).SetFrac(new(big.Int).Exp(num, e, nil), new(big.Int).Exp(denom, e, nil)))
}

func floats(operator string, a, b any) (any, error) {
	x, err := float(a)
	if err != nil {
		return nil, err
	}
	y, err := float(b)
	if err != nil {
		return nil, err
	}
	switch operator {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	case "/":
		return x / y, nil
	case "**":
		return math.Pow(x, y), nil
	}
	return nil, fmt.Errorf("operator %s does not take floating-point numbers", operator)
}

// kindsOf names the kinds of several values.
func kindsOf(all []any) string {
	kinds := make([]string, len(all))
	for i, v := range all {
		kinds[i] = kindOf(v)
	}
	return strings.Join(kinds, ", ")
}

// kindOf names the kind of a value.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case bool:
		return "a bool"
	case string:
		return "a string"
	case int, uint64, *big.Int:
		return "an integer"
	case *big.Rat, fraction:
		return "a fraction"
	case float64:
		return "a floating-point number"
	case []any:
		return "a list"
	}
	return "a struct"
}
