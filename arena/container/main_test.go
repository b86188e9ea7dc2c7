package container

import (
	"testing"

	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
)

func TestMain(m *testing.M) {
	arenatest.Main(m, map[string]arenatest.Helper{
		"put": putHelper, "hostile": hostileHelper, "format": formatHelper, "storm": stormHelper,
	})
}
