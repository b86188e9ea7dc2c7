package filter

import (
	"math"
	"math/big"
	"math/bits"
)

// Fast paths for numbers that fit a machine word: they do not use math/big.

// word returns v as an int if v is an integer that fits.
func word(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case uint64:
		return int(v), v <= math.MaxInt64
	case *big.Int:
		return int(v.Int64()), v.IsInt64()
	}
	return 0, false
}

// small applies an operator to ints. It returns false if the result might not fit an int.
func small(operator string, x, y int) (int, bool) {
	switch operator {
	case "+":
		sum := x + y
		return sum, (sum > x) == (y > 0)
	case "-":
		difference := x - y
		return difference, (difference < x) == (y > 0)
	case "*":
		hi, lo := bits.Mul64(uint64(max(x, -x)), uint64(max(y, -y)))
		return x * y, hi == 0 && lo < 1<<63 && x != math.MinInt && y != math.MinInt
	case "/":
		if y > 0 && x%y == 0 {
			return x / y, true
		}
	case "%":
		if y > 0 {
			return x % y, true
		}
	}
	return 0, false
}

// natural returns v as a uint64 if v is an integer that fits.
func natural(v any) (uint64, bool) {
	switch v := v.(type) {
	case int:
		return uint64(v), v >= 0
	case uint64:
		return v, true
	}
	return 0, false
}

// naturals applies an operator to uint64s. It returns false if the result is not an integer that fits a uint64.
func naturals(operator string, x, y uint64) (v any, ok bool) {
	var result uint64
	switch operator {
	case "+":
		result = x + y
		ok = result >= x
	case "-":
		result, ok = x-y, x >= y
	case "*":
		var hi uint64
		hi, result = bits.Mul64(x, y)
		ok = hi == 0
	case "/":
		if y > 0 {
			result, ok = x/y, x%y == 0
		}
	case "%":
		if y > 0 {
			result, ok = x%y, true
		}
	}
	if result <= math.MaxInt64 {
		return int(result), ok
	}
	return result, ok
}

// fraction is a quotient of ints that is not an integer. Its denominator is positive.
type fraction struct{ num, denom int }

// compare compares f with v. It returns false unless v is an integer that fits an int.
func (f fraction) compare(v any) (order int, ok bool) {
	n, ok := word(v)
	below := f.num / f.denom // the greatest integer below f; the division rounds towards 0
	if f.num < 0 {
		below--
	}
	if below >= n {
		return 1, ok
	}
	return -1, ok
}
