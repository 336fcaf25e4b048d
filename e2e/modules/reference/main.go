// Command reference reads image references as the distribution project does, so that the image grammar
// of Sluicegate can be compared with it.
//
// Input: one reference a line, as a JSON string. Output: one JSON object a line, in the same order.
package main

import (
	"bufio"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/distribution/reference"
)

// parsed is what a reference means, or why it is none.
type parsed struct {
	Error     string `json:"error,omitempty"`
	Domain    string `json:"domain"`
	Path      string `json:"path"`
	Tag       string `json:"tag"`
	Digest    string `json:"digest"`
	Canonical string `json:"canonical"`
	Familiar  string `json:"familiar"`
}

func parse(text string) parsed {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return parsed{Error: err.Error()}
	}
	result := parsed{
		Domain:    reference.Domain(named),
		Path:      reference.Path(named),
		Canonical: named.String(),
		Familiar:  reference.FamiliarString(named),
	}
	if tagged, ok := named.(reference.Tagged); ok {
		result.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		result.Digest = digested.Digest().String()
	}
	return result
}

func run(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	buffered := bufio.NewWriter(out)
	encoder := json.NewEncoder(buffered)
	for number := 1; lines.Scan(); number++ {
		var text string
		if err := json.Unmarshal(lines.Bytes(), &text); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := encoder.Encode(parse(text)); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return buffered.Flush()
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
