// Package clients is what the Go client programs share: their command line, and the lines they print.
package clients

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// FirstTimestampMs is the timestamp of record 0; each further record is a millisecond later.
const FirstTimestampMs = 1700000000000

// TicksASecond is how often write sends its share of the rate.
const TicksASecond = 5

// Options are the words "key=value" after the command.
type Options map[string]string

// Arguments reads the command line.
func Arguments() (string, Options) {
	options := Options{}
	for _, word := range os.Args[2:] {
		key, value, _ := strings.Cut(word, "=")
		options[key] = value
	}
	return os.Args[1], options
}

// Number of an option, 0 when it is not there.
func (o Options) Number(key string) int {
	n, _ := strconv.Atoi(o[key])
	return n
}

// Words of an option, between commas.
func (o Options) Words(key string) []string {
	return strings.Split(o[key], ",")
}

// Key of record i; nil for each fifth.
func Key(i int) []byte {
	if i%5 == 0 {
		return nil
	}
	return []byte(fmt.Sprintf("k%d", i))
}

// Value of record i; nil for each seventh that has a key.
func Value(i int) []byte {
	if i%5 != 0 && i%7 == 0 {
		return nil
	}
	return []byte(fmt.Sprintf("v%d repeats itself", i) + strings.Repeat(" repeats itself", i%50))
}

// Padded is the value of a record of write.
func Padded(who string, sequence int) []byte {
	return []byte(fmt.Sprintf("%s %d %s", who, sequence, strings.Repeat("p", 60)))
}

var lock sync.Mutex

// Say prints a line.
func Say(line string) {
	lock.Lock()
	defer lock.Unlock()
	fmt.Println(line)
}

// SayJSON prints a value as a line.
func SayJSON(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	Say(string(line))
}

func orNull(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}

// SayRecord prints a consumed record.
func SayRecord(partition int32, offset int64, key, value []byte, timestampMs int64, headers [][2]string) {
	if headers == nil {
		headers = [][2]string{}
	}
	SayJSON(map[string]any{"p": partition, "o": offset, "k": orNull(key), "v": orNull(value), "t": timestampMs, "h": headers})
}

// SayPartitions prints what a member was given or lost.
func SayPartitions(event string, partitions []int32) {
	if partitions == nil {
		partitions = []int32{}
	}
	SayJSON(map[string]any{"event": event, "partitions": partitions})
}

// Expect prints whether err names what was wanted.
func Expect(name, wanted string, err error) {
	switch {
	case err == nil:
		Say("FAIL " + name + ": no error")
	case strings.Contains(err.Error(), wanted):
		Say("pass " + name)
	default:
		Say("FAIL " + name + ": " + strings.ReplaceAll(err.Error(), "\n", " "))
	}
}

// Asked is closed when a line, or the end, comes in on standard input.
func Asked() <-chan struct{} {
	asked := make(chan struct{})
	go func() {
		bufio.NewReader(os.Stdin).ReadString('\n')
		close(asked)
	}()
	return asked
}

// Must ends the program when err says so.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
