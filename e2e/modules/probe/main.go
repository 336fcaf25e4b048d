// Command probe is the workload of the tests: a pod that looks at the cluster from inside and tells over HTTP what it
// saw. `probe pause` is the sandbox container of every pod.
//
// Endpoints of `probe serve`: /healthz, /echo?text=T, /file?path=P, /env?name=N, /resolve?name=N, /get?url=U (status
// and body), /tcp?address=HOST:PORT. What fails answers 502 with the error's text.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const timeout = 3 * time.Second

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "pause":
		pause()
	case len(os.Args) >= 2 && os.Args[1] == "serve":
		listen := ":8080"
		if len(os.Args) == 3 {
			listen = os.Args[2]
		}
		log.Fatal(http.ListenAndServe(listen, handler()))
	default:
		log.Fatal("usage: probe pause | probe serve [ADDRESS]")
	}
}

// pause holds a pod's namespaces until it is told to end.
func pause() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
}

func handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(path string, look func(query func(string) string) (string, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			text, err := look(r.URL.Query().Get)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			_, _ = io.WriteString(w, text)
		})
	}
	answer("/healthz", func(func(string) string) (string, error) { return "ok", nil })
	answer("/echo", func(query func(string) string) (string, error) { return query("text"), nil })
	answer("/env", func(query func(string) string) (string, error) { return os.Getenv(query("name")), nil })
	answer("/file", func(query func(string) string) (string, error) {
		content, err := os.ReadFile(query("path"))
		return string(content), err
	})
	answer("/resolve", func(query func(string) string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		addresses, err := net.DefaultResolver.LookupHost(ctx, query("name"))
		return strings.Join(addresses, "\n"), err
	})
	answer("/tcp", func(query func(string) string) (string, error) {
		connection, err := net.DialTimeout("tcp", query("address"), timeout)
		if err != nil {
			return "", err
		}
		return "open", connection.Close()
	})
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		// What is asked here is whether something can be reached, not who it is.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	answer("/get", func(query func(string) string) (string, error) {
		response, err := client.Get(query("url"))
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		return fmt.Sprintf("%d\n%s", response.StatusCode, body), err
	})
	return mux
}
