// Command matrix writes docs/conformance.md from reports that
// `rbtool features --conform -o json` wrote on several kernels:
//
//	go run ./internal/conform/matrix 5.10.json 6.1.json ... > docs/conformance.md
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/conform"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "matrix: %v\n", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	if len(files) == 0 {
		return errors.New("usage: matrix REPORT.json [REPORT.json ...]")
	}
	var reports []conform.Report
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var r conform.Report
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if len(r.Rules) == 0 {
			return fmt.Errorf("read %s: the report has no rules", name)
		}
		reports = append(reports, r)
	}
	return conform.Markdown(os.Stdout, reports)
}
