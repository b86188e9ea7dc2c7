package exits

import (
	"os"
	"testing"
)

func TestExits3(t *testing.T) { os.Exit(3) }
