package ring

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
)

// A model of the lifetime of a Mapping: two threads acquire and release it, and two close it.
// Rules: the memory is not accessed after it is unmapped, and is unmapped exactly once.
func TestModelOfLifetime(t *testing.T) {
	tests := []struct {
		rule    string
		acquire []model.Step
		fails   string // the rule that is broken, "" if none
	}{
		{"Mapping.Acquire", acquire(), ""},
		{
			"weakened: counts first, then checks closedBit, and undoes",
			[]model.Step{
				{Label: "acquire", Doc: "users.Add(oneUser)", Do: func(v *model.View) { v.Set(seen, v.Add(users, oneUser)) }},
				{Doc: "closed: undo", Do: func(v *model.View) {
					if v.Reg(seen)&closedBit != 0 {
						v.Add(users, -oneUser)
						v.Stop()
					}
				}},
			},
			"never unmapped",
		},
		{
			"weakened: checks closedBit first, then counts",
			[]model.Step{
				{Label: "acquire", Doc: "users.Load()", Do: func(v *model.View) {
					if v.Load(users)&closedBit != 0 {
						v.Stop()
					}
				}},
				{Doc: "users.Add(oneUser)", Do: func(v *model.View) { v.Add(users, oneUser) }},
			},
			"access to unmapped memory",
		},
	}
	for _, tt := range tests {
		for _, order := range []model.Order{model.TSO, model.PSO} {
			t.Run(fmt.Sprintf("%s %s", tt.rule, order), func(t *testing.T) {
				m := model.Model{Words: int(words), Order: order, AtRest: mustBeUnmapped}
				for i := range 2 {
					m.Threads = append(m.Threads, user(fmt.Sprintf("user %d", i), tt.acquire))
					m.Threads = append(m.Threads, closer(fmt.Sprintf("closer %d", i)))
				}
				m.Explore().Check(t, tt.fails)
			})
		}
	}
}

const (
	users  model.Word = iota // Mapping.users
	unmaps                   // how often the memory was unmapped; not a word of shared memory
	words
)

// Registers of a user.
const (
	seen  = iota // users as loaded
	turns        // how often this user has acquired
)

// user acquires and releases the Mapping twice.
func user(name string, acquire []model.Step) model.Thread {
	return model.Thread{Name: name, Steps: slices.Concat(acquire, []model.Step{
		{Doc: "access", Do: func(v *model.View) {
			if v.Peek(unmaps) > 0 {
				v.Fail("access to unmapped memory")
			}
		}},
		{Doc: "Mapping.Release", Do: func(v *model.View) {
			if v.Add(users, -oneUser) != closedBit {
				goOn(v)
			}
		}},
		{Doc: "last: Unmap", Do: func(v *model.View) { unmap(v); goOn(v) }},
	})}
}

func goOn(v *model.View) {
	if v.Set(turns, v.Reg(turns)+1); v.Reg(turns) == 2 {
		v.Stop()
	} else {
		v.Goto("acquire")
	}
}

// acquire models Mapping.Acquire.
func acquire() []model.Step {
	return []model.Step{
		{Label: "acquire", Doc: "users.Load(), closed: give up", Do: func(v *model.View) {
			v.Set(seen, v.Load(users))
			if v.Reg(seen)&closedBit != 0 {
				v.Stop()
			}
		}},
		{Doc: "users.CompareAndSwap", Do: func(v *model.View) {
			if !v.CompareAndSwap(users, v.Reg(seen), v.Reg(seen)+oneUser) {
				v.Goto("acquire")
			}
		}},
	}
}

func closer(name string) model.Thread {
	return model.Thread{Name: name, Steps: []model.Step{
		{Doc: "Mapping.Close", Do: func(v *model.View) {
			if v.Or(users, closedBit) != 0 {
				v.Stop()
			}
		}},
		{Doc: "last: Unmap", Do: unmap},
	}}
}

func unmap(v *model.View) {
	v.Poke(unmaps, v.Peek(unmaps)+1)
	if v.Peek(unmaps) > 1 {
		v.Fail("unmapped twice")
	}
}

func mustBeUnmapped(v *model.View) error {
	if v.Peek(unmaps) == 0 {
		return fmt.Errorf("never unmapped: users is %d", v.Peek(users))
	}
	return nil
}
