package drops_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/rbtool/rbtool/drops"
)

// Count the lost records of all rings for ten seconds.
func Example() {
	c, err := drops.New(drops.Options{})
	if errors.Is(err, drops.ErrNotSupported) {
		fmt.Println(err) // says what each engine lacks
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	time.Sleep(10 * time.Second)
	report, err := c.Read()
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range report.Rings {
		fmt.Printf("%s: %d of %d records lost (%d to %d)\n", r.Name, r.Failed, r.Calls, r.FailedLow, r.FailedHigh)
		for _, by := range r.Callers {
			fmt.Printf("  %d of %s, %s\n", by.Failed, by.Name, by.Function)
		}
	}
}
