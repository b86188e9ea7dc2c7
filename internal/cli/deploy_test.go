package cli

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rbtool/rbtool/metrics"
)

const (
	dashboardFile = "../../deploy/grafana/rbtool.json"
	rulesFile     = "../../deploy/prometheus/rbtool.rules.yml"
)

// The dashboard and the alerts only use metrics that the exporter exports.
func TestDeployedQueriesNameMetricsThatExist(t *testing.T) {
	descs := make(chan *prometheus.Desc, 100)
	metrics.NewCollector().Describe(descs)
	close(descs)
	var have []string
	fqName := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range descs {
		have = append(have, fqName.FindStringSubmatch(d.String())[1])
	}
	series := regexp.MustCompile("_(bucket|sum|count)$") // of a classic histogram
	for _, file := range []string{dashboardFile, rulesFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		used := regexp.MustCompile(`\brbtool_[a-z_]+`).FindAllString(string(text), -1)
		if len(used) == 0 {
			t.Errorf("%s uses no metrics", file)
		}
		for _, name := range used {
			if !slices.Contains(have, name) && !slices.Contains(have, series.ReplaceAllString(name, "")) {
				t.Errorf("%s uses %s", file, name)
			}
		}
	}
}

// dashboard has the members of a Grafana dashboard that contain queries.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEveryPanelAsks(t *testing.T) {
	for _, p := range readDashboard(t).Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			if target.Expr == "" {
				t.Errorf("panel %q has an empty query", p.Title)
			}
		}
	}
}
