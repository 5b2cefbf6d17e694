// dashboard-schema reads dashboards as Grafana's published schema has them, and refuses what is not in it. Usage: dashboard-schema FILE...
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func check(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var board dashboard.Dashboard
	if err := board.UnmarshalJSONStrict(text); err != nil {
		return err
	}
	return board.Validate()
}

// What a panel of an unknown kind holds is not looked at, so there may be none.
func known(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var board struct{ Panels []struct{ Type string } }
	if err := json.Unmarshal(text, &board); err != nil {
		return err
	}
	for _, panel := range board.Panels {
		if _, found := cog.ConfigForPanelcfgVariant(panel.Type); !found && panel.Type != "row" {
			return fmt.Errorf("no schema of the panel %q", panel.Type)
		}
	}
	return nil
}

func main() {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(statetimeline.VariantConfig())
	runtime.RegisterPanelcfgVariant(table.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	failed := false
	for _, path := range os.Args[1:] {
		for _, look := range []func(string) error{known, check} {
			if err := look(path); err != nil && err.Error() != "" { // an empty list of errors is an error too
				fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
				failed = true
			}
		}
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}
