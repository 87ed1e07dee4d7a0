package strictyaml

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Reader is a type that reads itself from a document.
type Reader interface{ ReadYAML(n Node) }

// Decode fills the struct that out points to from a document. Fields need a tag,
// `yaml:"name"` or `yaml:"name,required"`; those without one are left alone, except
// a Pos, which is set to where the mapping begins. Fields may be strings, booleans,
// integers, floats, time.Duration, Reader, structs, and pointers to, slices of and
// maps from string to these. What is not written keeps the value that it had.
func Decode(path string, data []byte, limits Limits, out any) Problems {
	report := NewReporter(limits.Problems)
	if root, ok := Parse(path, data, limits, report); ok {
		root.Into("the file", out)
	}
	return report.Problems()
}

// Into fills what out points to, as Decode does, from one value of a document.
func (n Node) Into(what string, out any) { n.into(what, reflect.ValueOf(out).Elem()) }

func (n Node) into(what string, v reflect.Value) {
	if r, ok := v.Addr().Interface().(Reader); ok {
		r.ReadYAML(n)
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		v.SetInt(int64(n.Duration(0, math.MaxInt64)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Str())
	case reflect.Bool:
		v.SetBool(n.Bool())
	case reflect.Int, reflect.Int64, reflect.Int32:
		least, most := math.MinInt, math.MaxInt
		if v.Kind() == reflect.Int32 {
			least, most = math.MinInt32, math.MaxInt32
		}
		v.SetInt(int64(n.Int(least, most)))
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16:
		most := math.MaxInt
		if bits := v.Type().Bits(); bits < 64 {
			most = 1<<bits - 1
		}
		v.SetUint(uint64(max(n.Int(0, most), 0)))
	case reflect.Float64:
		v.SetFloat(n.Float())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		n.into(what, v.Elem())
	case reflect.Slice:
		n.intoSlice(what, v)
	case reflect.Map:
		n.intoMap(what, v)
	case reflect.Struct:
		n.intoStruct(what, v)
	default:
		panic("strictyaml: no way to read into " + v.Type().String())
	}
}

func (n Node) intoSlice(what string, v reflect.Value) {
	v.SetZero()
	n.List(func(_ int, item Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		item.into(what, e)
		v.Set(reflect.Append(v, e))
	})
}

func (n Node) intoMap(what string, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	n.Entries(what, func(key Key, item Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		item.into(key.Text, e)
		v.SetMapIndex(reflect.ValueOf(key.Text).Convert(v.Type().Key()), e)
	})
}

func (n Node) intoStruct(what string, v reflect.Value) {
	fields, required := Fields{}, map[string]bool{}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Type == reflect.TypeFor[Pos]() && field.IsExported() {
			v.Field(i).Set(reflect.ValueOf(n.Pos()))
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = func(item Node) { item.into(item.Path(), v.Field(i)) }
		if options == "required" {
			required[name] = true
		}
	}
	n.Fields(what, fields, slices.Sorted(maps.Keys(required))...)
}
