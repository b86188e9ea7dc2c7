package host

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Of samples that fail or do not end, /healthz tells.
func TestHealth(t *testing.T) {
	e := newExported(time.Second)
	e.last = time.Now()
	ask := func() (int, string) {
		w := httptest.NewRecorder()
		e.routes().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil))
		return w.Code, w.Body.String()
	}
	if code, text := ask(); code != http.StatusOK || text != "ok\n" {
		t.Errorf("got %d, %q", code, text)
	}
	e.err = errors.New("sample maps: \x1b[2J")
	if code, text := ask(); code != http.StatusServiceUnavailable || text != "sample maps: \\x1b[2J\n" {
		t.Errorf("got %d, %q", code, text)
	}
	e.err, e.last = nil, time.Now().Add(-time.Hour)
	if code, text := ask(); code != http.StatusServiceUnavailable || text != "the last sample is 1h0m0s old\n" {
		t.Errorf("got %d, %q", code, text)
	}
}
