// Protodeps writes the .proto files that ours import, from the descriptors that Go
// modules link. They cannot be fetched from a registry of protos everywhere that
// Slipway is built, and a committed copy would age apart from the Go code.
package main

import (
	"fmt"
	"os"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: protodeps DIR")
		os.Exit(2)
	}
	fd, err := protoregistry.GlobalFiles.FindFileByPath("buf/validate/validate.proto")
	if err == nil {
		p := protoprint.Printer{Compact: true}
		err = p.PrintProtosToFileSystem([]protoreflect.FileDescriptor{fd}, os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "protodeps:", err)
		os.Exit(1)
	}
}
