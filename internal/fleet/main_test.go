package fleet

import (
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
