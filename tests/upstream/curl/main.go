// curl, as far as upstream's suite uses it in containers of its agnhost image: Debian has no static one.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Exit statuses of curl.
const (
	badUsage      = 2
	cannotConnect = 7
	refusedByHTTP = 22
	timedOut      = 28
)

type options struct {
	method, url, body, output, writeOut string
	headers                             http.Header
	insecure, headOnly, showHead, fail  bool
	connect, total                      time.Duration
}

func main() {
	options, err := parse(os.Args[1:])
	if err != nil {
		exit(badUsage, err)
	}
	code, err := fetch(options)
	if err != nil {
		exit(code, err)
	}
}

func exit(code int, err error) {
	fmt.Fprintf(os.Stderr, "curl: (%d) %v\n", code, err)
	os.Exit(code)
}

// longNames are the one-letter forms of the long options.
var longNames = map[string]string{
	"request": "X", "header": "H", "data": "d", "output": "o", "write-out": "w", "max-time": "m", "connect-timeout": "c",
	"insecure": "k", "head": "I", "include": "i", "fail": "f", "silent": "s", "show-error": "S", "globoff": "g", "disable": "q",
	"verbose": "v", "location": "L",
}

func parse(words []string) (*options, error) {
	o := &options{method: http.MethodGet, headers: http.Header{}}
	for i := 0; i < len(words); i++ {
		letters, attached, isLong := "", "", false
		switch word := words[i]; {
		case strings.HasPrefix(word, "--"):
			name, value, _ := strings.Cut(word[2:], "=")
			letters, attached, isLong = longNames[name], value, true
			if letters == "" {
				return nil, fmt.Errorf("option %s: is unknown", word)
			}
		case strings.HasPrefix(word, "-"):
			letters = word[1:]
		default:
			o.url = word
		}
		for at, letter := range letters {
			if !strings.ContainsRune("XHdowmc", letter) {
				o.flag(letter)
				continue
			}
			value := attached
			if !isLong {
				value = letters[at+1:]
			}
			if value == "" {
				if i++; i == len(words) {
					return nil, fmt.Errorf("option -%c: requires parameter", letter)
				}
				value = words[i]
			}
			if err := o.value(letter, value); err != nil {
				return nil, err
			}
			break
		}
	}
	if o.url == "" {
		return nil, errors.New("no URL specified")
	}
	if !strings.Contains(o.url, "://") {
		o.url = "http://" + o.url
	}
	return o, nil
}

func (o *options) flag(letter rune) {
	switch letter {
	case 'k':
		o.insecure = true
	case 'I':
		o.headOnly, o.showHead, o.method = true, true, http.MethodHead
	case 'i':
		o.showHead = true
	case 'f':
		o.fail = true
	}
}

func (o *options) value(letter rune, value string) error {
	switch letter {
	case 'X':
		o.method = value
	case 'H':
		name, content, _ := strings.Cut(value, ":")
		o.headers.Add(name, strings.TrimSpace(content))
	case 'd':
		o.body = value
		if o.method == http.MethodGet {
			o.method = http.MethodPost
		}
		if o.headers.Get("Content-Type") == "" {
			o.headers.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	case 'o':
		o.output = value
	case 'w':
		o.writeOut = value
	case 'm', 'c':
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("expected a proper numerical parameter: %w", err)
		}
		limit := time.Duration(seconds * float64(time.Second))
		if letter == 'm' {
			o.total = limit
		} else {
			o.connect = limit
		}
	}
	return nil
}

func fetch(o *options) (int, error) {
	client := &http.Client{
		Timeout: o.total,
		Transport: &http.Transport{
			DialContext:     (&net.Dialer{Timeout: o.connect}).DialContext,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: o.insecure},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(context.Background(), o.method, o.url, strings.NewReader(o.body))
	if err != nil {
		return badUsage, err
	}
	request.Header = o.headers
	request.Host = o.headers.Get("Host")
	response, err := client.Do(request)
	if err != nil {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			return timedOut, err
		}
		return cannotConnect, err
	}
	defer response.Body.Close()
	if o.fail && response.StatusCode >= http.StatusBadRequest {
		return refusedByHTTP, fmt.Errorf("the requested URL returned error: %d", response.StatusCode)
	}
	return show(o, response)
}

func show(o *options, response *http.Response) (int, error) {
	const cannotWrite = 23
	out := os.Stdout
	if o.output != "" {
		file, err := os.Create(o.output)
		if err != nil {
			return cannotWrite, err
		}
		defer file.Close()
		out = file
	}
	if o.showHead {
		fmt.Fprintf(out, "%s %s\r\n", response.Proto, response.Status)
		if err := response.Header.Write(out); err != nil {
			return cannotWrite, err
		}
		fmt.Fprint(out, "\r\n")
	}
	if !o.headOnly {
		if _, err := io.Copy(out, response.Body); err != nil {
			return cannotWrite, err
		}
	}
	fmt.Print(strings.NewReplacer("%{http_code}", strconv.Itoa(response.StatusCode), `\n`, "\n").Replace(o.writeOut))
	return 0, nil
}
