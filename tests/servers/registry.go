package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"

	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

// registry serves the reference OCI registry (CNCF distribution) as its own
// `registry serve CONFIG` does, with the two parts the sandbox uses. The original
// main package also links every cloud's storage SDK.
func registry() {
	if err := serve(os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func serve(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	config, err := configuration.Parse(file)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", config.HTTP.Addr)
	if err != nil {
		return err
	}
	var handler http.Handler = handlers.NewApp(context.Background(), config)
	if !config.Log.AccessLog.Disabled {
		handler = accessLog(handler)
	}
	if config.HTTP.TLS.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(config.HTTP.TLS.Certificate, config.HTTP.TLS.Key)
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{
			Certificates: []tls.Certificate{pair},
			NextProtos:   []string{"http/1.1"},
		})
	}
	return http.Serve(listener, handler)
}

// accessLog writes a line for every request when it has been answered, however it ended.
// The registry's own log leaves some out (a HEAD of a manifest) and does not know what
// was received.
func accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		body := &body{ReadCloser: r.Body}
		method, uri := r.Method, r.RequestURI
		r.Body = body
		defer func() {
			fmt.Printf("access %s %s %d %d %d\n", method, uri, answer.status, body.received, answer.sent)
		}()
		next.ServeHTTP(answer, r)
	})
}

// answer remembers its status and counts its bytes.
type answer struct {
	http.ResponseWriter
	status int
	sent   int64
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(bytes []byte) (int, error) {
	n, err := a.ResponseWriter.Write(bytes)
	a.sent += int64(n)
	return n, err
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// body counts what was read of a request.
type body struct {
	io.ReadCloser
	received int64
}

func (b *body) Read(bytes []byte) (int, error) {
	n, err := b.ReadCloser.Read(bytes)
	b.received += int64(n)
	return n, err
}
