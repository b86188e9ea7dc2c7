package filter

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"
	"github.com/expr-lang/expr/types"

	"github.com/rbtool/rbtool/decode"
)

// syntax is a parsed expression.
type syntax struct {
	tree  *parser.Tree
	words *words
	// large has the integers that expr's parser cannot represent, by their offset in characters. The
	// tree has 0 in place of each.
	large map[int]*big.Int
	// timed has the units of the integers in large that are durations, by the same offsets, in nanoseconds: 1, or
	// that of the field with which one is compared.
	timed map[int]int
	// meanings has the meanings of fields by their path, with and without "data.".
	meanings map[string]decode.Meaning
}

// parse parses an expression. It does not know the names of fields, so a field never hides a builtin
// function: "len" is a name and "len(" is a call.
func parse(expression string, known *words) (*syntax, error) {
	source := []rune(expression)
	s := &syntax{words: known, large: map[int]*big.Int{}, timed: map[int]int{}}
	if err := s.durations(source); err != nil {
		return nil, err
	}
	// Ignore the lexer's error: the parser reports it too.
	tokens, _ := lexer.Lex(file.NewSource(string(source)))
	for _, t := range tokens {
		if t.Kind != lexer.Number {
			continue
		}
		value, err := large(strings.ReplaceAll(t.Value, "_", ""))
		if err != nil {
			return nil, err
		}
		if value == nil || s.timed[t.From] > 0 {
			continue
		}
		s.large[t.From] = value
		for i := t.From; i < t.To; i++ {
			source[i] = '0'
		}
	}
	var err error
	if s.tree, err = parser.Parse(string(source)); err != nil {
		return nil, plain(err)
	}
	return s, s.resolve(known)
}

// token matches how the parser shows a token.
var token = regexp.MustCompile(`unexpected token (?:EOF|\w+\((".*")\))`)

// plain returns the parser's error without the kinds of its tokens.
func plain(err error) error {
	if at, ok := errors.AsType[*file.Error](err); ok {
		at.Message = token.ReplaceAllStringFunc(at.Message, func(text string) string {
			if value := token.FindStringSubmatch(text)[1]; value != "" {
				return "unexpected " + value
			}
			return "unexpected end"
		})
	}
	return err
}

// large returns the value of a literal that expr would round or reject: an integer that does not fit an
// int64, or a number from 2^53 to 2^200 with a fraction or an exponent. It returns nil for other
// literals.
func large(literal string) (*big.Int, error) {
	lower := strings.ToLower(literal)
	if strings.ContainsAny(lower, ".e") && !strings.HasPrefix(lower, "0x") {
		f, err := strconv.ParseFloat(literal, 64)
		if err != nil || f < 1<<53 || f > 1<<200 {
			return nil, nil
		}
		exact, ok := new(big.Rat).SetString(literal)
		if !ok {
			return nil, nil
		}
		if !exact.IsInt() {
			return nil, fmt.Errorf("the number %s is not exact as a floating-point number", literal)
		}
		return exact.Num(), nil
	}
	base := 0
	if !strings.HasPrefix(lower, "0x") && !strings.HasPrefix(lower, "0b") && !strings.HasPrefix(lower, "0o") {
		base = 10
	}
	if _, err := strconv.ParseInt(literal, base, 64); err == nil {
		return nil, nil
	}
	value, ok := new(big.Int).SetString(literal, base)
	if !ok {
		return nil, nil
	}
	if value.BitLen() > maxBits {
		return nil, errTooLarge
	}
	return value, nil
}

// signatures are the types of the own functions. ip returns a value that only == != and in take.
var signatures = map[string]reflect.Type{
	"ip" + ownSuffix:   reflect.TypeFor[func(string) any](),
	"port" + ownSuffix: reflect.TypeFor[func(int) int](),
	enumNumber:         reflect.TypeFor[func(string) int](),
	"uid" + ownSuffix:  reflect.TypeFor[func(string) int](),
	"gid" + ownSuffix:  reflect.TypeFor[func(string) int](),
}

// check returns an error if the expression uses a name that is not in env, or an operation on the wrong
// type.
func (s *syntax) check(env types.Map) error {
	c := conf.CreateNew()
	expr.Env(env)(c)
	expr.AsBool()(c)
	for name, types := range signatures {
		c.Functions[name] = &builtin.Function{Name: strings.TrimSuffix(name, ownSuffix), Types: []reflect.Type{types}}
	}
	_, err := checker.Check(s.tree, c)
	return err
}

// position returns the position of a node in the format of expr's own errors.
func (s *syntax) position(node ast.Node) string {
	at := &file.Error{Location: node.Location()}
	at.Bind(s.tree.Source)
	return fmt.Sprintf("(%d:%d)", at.Line, at.Column+1)
}
