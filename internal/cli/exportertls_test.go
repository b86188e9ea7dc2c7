package cli

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"
)

// authority is a certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "rbtool test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// sign makes a certificate for 127.0.0.1 that is valid for an hour. The first one of an authority is its own.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// pool returns the authority's certificate as a pool.
func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// client returns a certificate for a client of the exporter.
func (a *authority) client(t *testing.T) tls.Certificate {
	t.Helper()
	cert, key := a.sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeServer writes a certificate for a server, its key and the authority's certificate to dir.
func (a *authority) writeServer(t *testing.T, dir string) {
	t.Helper()
	cert, key := a.sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "server.pem"), "CERTIFICATE", cert.Raw)
	writePEM(t, filepath.Join(dir, "server.key"), "PRIVATE KEY", der)
	writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", a.cert.Raw)
}

const password = "correct horse"

// writeWebConfig writes a file for --web.config.file beside the certificates in dir, which asks for the
// password of the user prometheus. It returns its path.
func writeWebConfig(t *testing.T, dir, more string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "web.yml")
	text := fmt.Sprintf("tls_server_config: {cert_file: server.pem, key_file: server.key%s}\nbasic_auth_users: {prometheus: %q}\n", more, hash)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// scrape requests url and returns the status, or 0 if there is no connection.
func scrape(t *testing.T, config *tls.Config, url, user, pass string) int {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, pass)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func TestExporterWithTLSAndPasswords(t *testing.T) {
	if testing.Short() {
		return // the same on every kernel
	}
	ca, stranger, dir := newAuthority(t), newAuthority(t), t.TempDir()
	ca.writeServer(t, dir)
	url := startExporter(t, "--listen", "127.0.0.1:0", "--web.config.file", writeWebConfig(t, dir, ""))
	if !strings.HasPrefix(url, "https://") {
		t.Fatalf("it listens on %s", url)
	}
	trust := &tls.Config{RootCAs: ca.pool()}
	for _, tt := range []struct {
		what       string
		config     *tls.Config
		url        string
		user, pass string
		want       int
	}{
		{"the right password", trust, url, "prometheus", password, http.StatusOK},
		{"health, the right password", trust, strings.Replace(url, "/metrics", "/healthz", 1), "prometheus", password, http.StatusOK},
		{"health, no password", trust, strings.Replace(url, "/metrics", "/healthz", 1), "", "", http.StatusUnauthorized},
		{"no password", trust, url, "", "", http.StatusUnauthorized},
		{"a wrong password", trust, url, "prometheus", "incorrect", http.StatusUnauthorized},
		{"another user", trust, url, "root", password, http.StatusUnauthorized},
		{"another authority", &tls.Config{RootCAs: stranger.pool()}, url, "prometheus", password, 0},
		{"an old version of TLS", &tls.Config{RootCAs: ca.pool(), MaxVersion: tls.VersionTLS11}, url, "prometheus", password, 0},
		{"plain HTTP", trust, strings.Replace(url, "https:", "http:", 1), "prometheus", password, http.StatusBadRequest},
	} {
		if got := scrape(t, tt.config, tt.url, tt.user, tt.pass); got != tt.want {
			t.Errorf("%s: status %d, want %d", tt.what, got, tt.want)
		}
	}
	// A certificate that is renewed is used at once.
	stranger.writeServer(t, dir)
	if got := scrape(t, &tls.Config{RootCAs: stranger.pool()}, url, "prometheus", password); got != http.StatusOK {
		t.Errorf("after the certificate was renewed: status %d", got)
	}
}

func TestExporterWithClientCertificates(t *testing.T) {
	if testing.Short() {
		return // the same on every kernel
	}
	ca, stranger, dir := newAuthority(t), newAuthority(t), t.TempDir()
	ca.writeServer(t, dir)
	url := startExporter(t, "--web.config.file", writeWebConfig(t, dir, ", client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert"))
	for _, tt := range []struct {
		what  string
		certs []tls.Certificate
		want  int
	}{
		{"a client of the authority", []tls.Certificate{ca.client(t)}, http.StatusOK},
		{"a client without a certificate", nil, 0},
		{"a stranger", []tls.Certificate{stranger.client(t)}, 0},
	} {
		if got := scrape(t, &tls.Config{RootCAs: ca.pool(), Certificates: tt.certs}, url, "prometheus", password); got != tt.want {
			t.Errorf("%s: status %d, want %d", tt.what, got, tt.want)
		}
	}
}

// The exporter listens on all of several addresses, each of which asks for the password.
func TestExporterOnSeveralAddresses(t *testing.T) {
	if testing.Short() {
		return // the same on every kernel
	}
	ca, dir := newAuthority(t), t.TempDir()
	ca.writeServer(t, dir)
	cmd := rbtool(t, "exporter", "--web.listen-address", "127.0.0.1:0", "--web.listen-address", "127.0.0.2:0",
		"--web.config.file", writeWebConfig(t, dir, ""))
	urls := startListening(t, cmd, 2)
	if !strings.HasPrefix(urls[1], "https://127.0.0.2:") {
		t.Fatalf("it listens on %s", urls)
	}
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1"}
	for _, url := range urls {
		if got := scrape(t, config, url, "prometheus", password); got != http.StatusOK {
			t.Errorf("%s: status %d", url, got)
		}
		if got := scrape(t, config, url, "", ""); got != http.StatusUnauthorized {
			t.Errorf("%s without a password: status %d", url, got)
		}
	}
}

// systemd passes a socket as descriptor 3, and says in the environment to whom.
func TestExporterOnASocketOfSystemd(t *testing.T) {
	if testing.Short() {
		return // the same on every kernel
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "rbtool") // by this name the binary of the tests is rbtool
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" exporter --web.systemd-socket`, link)
	cmd.ExtraFiles = []*os.File{file}
	url := startListening(t, cmd, 1)[0]
	if want := "http://" + l.Addr().String() + "/metrics"; url != want {
		t.Errorf("it listens on %s, want %s", url, want)
	}
	if text := get(t, url); !strings.Contains(text, "\nrbtool_up 1\n") {
		t.Errorf("got\n%s", text)
	}
}

// startListening starts an exporter, and returns the URLs that it listens on. When the test ends, SIGTERM stops
// the exporter, which must exit with status 0.
func startListening(t *testing.T, cmd *exec.Cmd, count int) (urls []string) {
	t.Helper()
	cmd.Stderr = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	for lines := bufio.NewScanner(stderr); len(urls) < count; {
		if !lines.Scan() {
			t.Fatalf("it listens on %q only", urls)
		}
		if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			urls = append(urls, url)
		}
	}
	return urls
}
