import ByteIO
import Support
import Tensors
import Testing
import TorchFormat

/// A pickle that is refused at `^`.
struct PickleCase: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let text: String
  let says: String
  /// Bytes behind the `^` to where the fault is seen.
  let plus: UInt64
  let isWhole: Bool

  init(_ name: String, _ text: String, says: String, plus: UInt64 = 0, isWhole: Bool = true) {
    testDescription = name
    self.text = text
    self.says = says
    self.plus = plus
    self.isWhole = isWhole
  }

  func check() {
    let pickle = PickleAssembler(text, isWhole: isWhole)
    let (bytes, places) = TorchBytes.archive(pickle.bytes).encoded
    let start = places.contents["x/data.pkl"] ?? 0
    Fault(item: "x/data.pkl", offset: pickle.mark.map { start + UInt64($0) + plus }, says: says).check(in: bytes)
  }

  /// Programs: names outside the list, and every way to call one.
  static let programs: [PickleCase] =
    [
      "os.system", "posix.system", "nt.system", "subprocess.Popen", "builtins.eval", "builtins.exec",
      "__builtin__.eval",
      "builtins.getattr", "builtins.set", "builtins.bytearray", "builtins.complex", "_codecs.encode", "sys.modules",
      "collections.Counter", "collections.defaultdict", "torch.load", "torch.hub.load", "torch.FloatTensor",
      "torch.ComplexFloatStorage", "torch.QInt8Storage", "torch.complex64", "torch.float", "torch.device",
      "torch.bits8", "torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor",
      "torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_wrapper_subclass",
      "torch._utils._rebuild_device_tensor_from_numpy", "torch._utils._import_dotted_name",
      "torch.serialization._get_layout", "torch.storage.TypedStorage", "torch.storage._load_from_bytes",
      "torch.jit._pickle.build_tensor_from_id", "torch.nn.modules.linear.Linear", "numpy.core.multiarray._reconstruct",
      "torch.cuda.float32", "torch_utils._rebuild_tensor_v2", "Torch.FloatStorage", "torch.floatStorage",
    ].map { PickleCase("the name \($0)", "^ @\($0) \"x\" TUPLE1 REDUCE", says: "mentions \($0), which is not needed") }
    + [
      PickleCase("a name with a space", "^ GLOBAL 0x6F 0x20 0x0A 0x61 0x0A", says: "malformed name"),
      PickleCase("a name that is not ASCII", "^ GLOBAL 0xC3 0xA9 0x0A 0x61 0x0A", says: "malformed name"),
      PickleCase("an empty name", "^ GLOBAL 0x0A 0x0A", says: "mentions ., which is not needed"),
      PickleCase("a name without end", "^ GLOBAL 0x61", says: "cut short", plus: 2, isWhole: false),
      PickleCase("a call of a string", #""os.system" EMPTY_TUPLE ^ REDUCE"#, says: "calls what cannot be called"),
      PickleCase("a call of a tensor", "$tensor EMPTY_TUPLE ^ REDUCE", says: "calls what cannot be called"),
      PickleCase("a call of a storage class", "@torch.FloatStorage 4 TUPLE1 ^ REDUCE", says: "calls a type"),
      PickleCase("a call of a type", "@torch.float32 EMPTY_TUPLE ^ REDUCE", says: "calls a type"),
      PickleCase("a call of Tensor", "@torch.Tensor EMPTY_TUPLE ^ REDUCE", says: "calls a type"),
      PickleCase("a call with a list", "@collections.OrderedDict EMPTY_LIST ^ REDUCE", says: "cannot be called"),
      PickleCase(
        "a dict made of pairs", #"@collections.OrderedDict EMPTY_LIST TUPLE1 ^ REDUCE"#, says: "made of arguments"),
      PickleCase("an object of another class", "@torch.Tensor EMPTY_TUPLE ^ NEWOBJ", says: "foreign class"),
      PickleCase(
        "an object made by a function", "@torch._utils._rebuild_tensor EMPTY_TUPLE ^ NEWOBJ", says: "foreign class"),
      PickleCase("the state of a list", "EMPTY_LIST EMPTY_DICT ^ BUILD", says: "sets the state of what has none"),
      PickleCase("the state of a symbol", "@torch.Tensor EMPTY_DICT ^ BUILD", says: "sets the state of what has none"),
      // Tensor.set_: other bytes under the same name.
      PickleCase(
        "the state of a tensor", #"EMPTY_DICT "a" $tensor MARK $storage 2 1 TUPLE1 1 TUPLE1 TUPLE ^ BUILD SETITEM"#,
        says: "sets the state of what has none"),
    ]

  /// Opcodes that torch's own reader does not know either.
  static let opcodes: [PickleCase] = [
    "POP", "POP_MARK", "DUP", "DICT", "LIST", "FROZENSET", "ADDITEMS", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BYTEARRAY8", "UNICODE", "STRING", "LONG4", "INT", "LONG", "FLOAT", "PUT", "GET",
    "MEMOIZE", "FRAME", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX", "PERSID", "NEXT_BUFFER",
    "READONLY_BUFFER", "PROTO", "0x00", "0xFF",
  ].map { PickleCase("the opcode \($0)", "EMPTY_DICT MARK \"a\" \"b\" ^ \($0) 0x00", says: "has opcode 0x") }

  /// The stack, the memo and literals.
  static let machine: [PickleCase] = [
    PickleCase("nothing", "^ STOP", says: "ends with 0 values", isWhole: false),
    PickleCase("two values", "EMPTY_DICT EMPTY_DICT ^ STOP", says: "ends with 2 values", isWhole: false),
    PickleCase("an open mark", "MARK EMPTY_DICT ^ STOP", says: "ends with 1 values", isWhole: false),
    PickleCase("no end", "EMPTY_DICT ^", says: "cut short", isWhole: false),
    PickleCase("bytes behind the end", "EMPTY_DICT STOP ^ 0x00", says: "2 bytes stand behind"),
    PickleCase("a second pickle", "EMPTY_DICT STOP ^ PROTO 0x02 EMPTY_DICT", says: "4 bytes stand behind"),
    PickleCase("a pair from below the mark", #"EMPTY_DICT "a" MARK 1 ^ SETITEM"#, says: "a value that is not there"),
    PickleCase("a tuple from below the mark", "1 MARK 2 ^ TUPLE2", says: "a value that is not there"),
    PickleCase("a tuple of nothing", "^ TUPLE1", says: "a value that is not there"),
    PickleCase("items without a mark", "EMPTY_DICT ^ SETITEMS", says: "a mark that is not there"),
    PickleCase("a key without a value", "EMPTY_DICT MARK 1 ^ SETITEMS", says: "a key without a value"),
    PickleCase("an item of a list", "EMPTY_LIST 1 2 ^ SETITEM", says: "sets items of what is no dict"),
    PickleCase("an item of a dict appended", "EMPTY_DICT 1 ^ APPEND", says: "appends to what is no list"),
    PickleCase("items appended to a tuple", "EMPTY_TUPLE MARK 1 ^ APPENDS", says: "appends to what is no list"),
    PickleCase("an item of a set", "EMPTY_SET 1 ^ APPEND", says: "appends to what is no list"),
    PickleCase("nothing remembered", "^ BINPUT 0x00", says: "looks at a value that is not there"),
    PickleCase("below the mark remembered", "1 MARK ^ BINPUT 0x00", says: "looks at a value that is not there"),
    PickleCase("a memo that was never made", "EMPTY_DICT BINPUT 0x00 ^ BINGET 0x01", says: "recalls 1"),
    PickleCase("a long memo that was never made", "^ LONG_BINGET 0xFF 0xFF 0xFF 0xFF", says: "recalls 4294967295"),
    PickleCase(
      "a memo index beyond all", "EMPTY_DICT ^ LONG_BINPUT 0xFF 0xFF 0xFF 0xFF", says: "memo has index 4294967295"),
    PickleCase("marks without end", String(repeating: "MARK ", count: 64) + "^ MARK", says: "deeper than 64"),
    PickleCase("a string beyond the end", "^ BINUNICODE 0x64 0 0 0".bytes, says: "cut short: 100 bytes", plus: 5),
    PickleCase("a string of 4 GiB", "^ BINUNICODE 0xFF 0xFF 0xFF 0xFF", says: "a string of 4294967295 bytes"),
    PickleCase("an old string beyond the end", "^ SHORT_BINSTRING 0xFF", says: "cut short: 255 bytes", plus: 2),
    PickleCase("a string that is not UTF-8", "^ BINUNICODE 0x01 0x00 0x00 0x00 0xFF", says: "not UTF-8"),
    PickleCase("half a surrogate", "^ BINUNICODE 0x03 0x00 0x00 0x00 0xED 0xA0 0x80", says: "not UTF-8"),
    PickleCase("an integer of 255 bytes", "^ LONG1 0xFF", says: "an integer of 255 bytes"),
    PickleCase(
      "an integer of 65 bits", "^ LONG1 0x09 0 0 0 0 0 0 0 0x80 0x00".bytes, says: "beyond 64 bits"),
    PickleCase("an integer of 72 bits", "^ LONG1 0x09 0 0 0 0 0 0 0 0 0x01".bytes, says: "beyond 64 bits"),
    PickleCase("a number cut short", "^ BINFLOAT 0x00 0x00", says: "cut short: 8 bytes expected", plus: 1),
  ]

  /// Storages and tensors that are none.
  static let tensors: [PickleCase] = [
    PickleCase("a persistent id that is no tuple", #""storage" ^ BINPERSID"#, says: "is no tuple"),
    PickleCase("a number for a persistent id", "0 ^ BINPERSID", says: "is no tuple"),
    storage("a module", #"MARK "module" @torch.FloatStorage "0" "cpu" 4 TUPLE"#),
    storage("no class", #"MARK "storage" "FloatStorage" "0" "cpu" 4 TUPLE"#),
    storage("a type for a class", #"MARK "storage" @torch.float32 "0" "cpu" 4 TUPLE"#),
    storage("a number for a key", #"MARK "storage" @torch.FloatStorage 0 "cpu" 4 TUPLE"#),
    storage("a negative count", #"MARK "storage" @torch.FloatStorage "0" "cpu" -1 TUPLE"#),
    storage("a count that is no integer", #"MARK "storage" @torch.FloatStorage "0" "cpu" NEWTRUE TUPLE"#),
    storage("no count", #"MARK "storage" @torch.FloatStorage "0" "cpu" TUPLE"#),
    storage("a view, as in legacy files", #"MARK "storage" @torch.FloatStorage "0" "cpu" 4 NONE TUPLE"#),
    storage("an empty id", "EMPTY_TUPLE"),
    PickleCase(
      "a storage of two types", #"$storage MARK "storage" @torch.HalfStorage "0" "cpu" 8 TUPLE ^ BINPERSID"#,
      says: "mentioned with two types"),
    PickleCase(
      "a storage with and without a type",
      #"$storage MARK "storage" @torch.storage.UntypedStorage "0" "cpu" 16 TUPLE ^ BINPERSID"#,
      says: "mentioned with two types"),
    PickleCase(
      "a storage of two sizes", #"$storage MARK "storage" @torch.FloatStorage "0" "cpu" 3 TUPLE ^ BINPERSID"#,
      says: "mentioned with two sizes"),
    tensor("other than a storage", "$v2 1 $all", says: "from other than a storage"),
    tensor("too few parts", "$v2 $storage 0", says: "from other than a storage"),
    tensor("an offset that is no integer", "$v2 $storage NONE 4 TUPLE1 1 TUPLE1", says: "other than a storage"),
    tensor("a negative offset", "$v2 $storage -1 2 TUPLE1 1 TUPLE1", says: "do not fit each other"),
    tensor("a negative size", "$v2 $storage 0 -1 TUPLE1 1 TUPLE1", says: "are not counts"),
    tensor("a negative stride", "$v2 $storage 3 4 TUPLE1 -1 TUPLE1", says: "are not counts"),
    tensor("a size that is no integer", "$v2 $storage 0 NEWTRUE TUPLE1 1 TUPLE1", says: "are not counts"),
    tensor("a size that is a string", #"$v2 $storage 0 "4" TUPLE1 1 TUPLE1"#, says: "are not counts"),
    tensor("sizes in a list", "$v2 $storage 0 EMPTY_LIST EMPTY_LIST", says: "sizes are no tuple"),
    tensor("more sizes than strides", "$v2 $storage 0 2 2 TUPLE2 1 TUPLE1", says: "do not fit each other"),
    tensor("more strides than sizes", "$v2 $storage 0 4 TUPLE1 4 1 TUPLE2", says: "do not fit each other"),
    tensor(
      "nine dimensions",
      "$v2 $storage 0 MARK 1 1 1 1 1 1 1 1 4 TUPLE MARK 4 4 4 4 4 4 4 4 1 TUPLE", says: "do not fit each other"),
    tensor("an untyped storage without a type", "$v2 $untyped $all", says: "an untyped storage has no type"),
    PickleCase(
      "metadata", #"$v2 $storage $all NEWFALSE $hooks EMPTY_DICT "conj" NEWTRUE SETITEM TUPLE ^ REDUCE"#,
      says: "has metadata"),
    PickleCase("metadata that is no dict", "$v2 $storage $all NEWFALSE $hooks 1 TUPLE ^ REDUCE", says: "has metadata"),
    PickleCase(
      "eight parts", "$v2 $storage $all NEWFALSE $hooks NONE NONE TUPLE ^ REDUCE", says: "other than a storage"),
    PickleCase(
      "version 3 of a typed storage", "$v3 $storage $all NEWFALSE $hooks @torch.float32 TUPLE ^ REDUCE",
      says: "no type that is known"),
    PickleCase(
      "version 3 without a type", #"$v3 $untyped $all NEWFALSE $hooks "float32" TUPLE ^ REDUCE"#,
      says: "no type that is known"),
    PickleCase(
      "version 1 with hooks", "$v1 $storage $all NEWFALSE $hooks TUPLE ^ REDUCE", says: "other than a storage"),
    PickleCase(
      "a parameter of a storage", "@torch._utils._rebuild_parameter $storage NEWTRUE $hooks TUPLE3 ^ REDUCE",
      says: "other than a tensor"),
    PickleCase(
      "a tensor of a type rebuilt by itself",
      "@torch._tensor._rebuild_from_type_v2 MARK @torch._tensor._rebuild_from_type_v2 @torch.Tensor EMPTY_TUPLE "
        + "EMPTY_DICT TUPLE ^ REDUCE", says: "by an unknown function"),
    PickleCase("a size of a list", "@torch.Size EMPTY_LIST TUPLE1 ^ REDUCE", says: "other than a tuple"),
  ]

  private static func storage(_ name: String, _ id: String) -> PickleCase {
    PickleCase("a storage reference: \(name)", id + " ^ BINPERSID", says: "is no storage reference")
  }

  private static func tensor(_ name: String, _ parts: String, says: String) -> PickleCase {
    PickleCase("a tensor of \(name)", parts + " NEWFALSE $hooks TUPLE ^ REDUCE", says: says)
  }
}

extension String {
  /// `0` stands for the byte.
  fileprivate var bytes: String { split(separator: " ").map { $0 == "0" ? "0x00" : $0 }.joined(separator: " ") }
}

@Suite("Pickles that are refused")
struct PickleRefusalTests {
  @Test(arguments: PickleCase.programs + PickleCase.opcodes + PickleCase.machine + PickleCase.tensors)
  func refuses(_ pickle: PickleCase) { pickle.check() }

  @Test func refusesOtherProtocols() {
    for version: UInt8 in [0, 1, 3, 4, 5, 255] {
      let (bytes, places) = TorchBytes.archive([0x80, version, 0x7D, 0x2E]).encoded
      Fault(item: "x/data.pkl", offset: places.contents["x/data.pkl"], says: "protocol \(version)").check(in: bytes)
    }
    let (bytes, places) = TorchBytes.archive([0x7D, 0x2E]).encoded
    Fault(item: "x/data.pkl", offset: places.contents["x/data.pkl"], says: "begin with PROTO").check(in: bytes)
    Fault(item: "x/data.pkl", offset: places.contents["x/data.pkl"], says: "cut short")
      .check(in: TorchBytes.archive([]).encoded.bytes)
  }

  /// What the pickle holds, after all of it was read.
  @Test func refusesWhatIsNoDictOfTensors() {
    func check(_ text: String, item: String = "x/data.pkl", _ says: String) {
      Fault(item: item, says: says).check(in: TorchBytes.archive(PickleAssembler(text).bytes).encoded.bytes)
    }
    check("$tensor", "no dict of tensors")
    check("EMPTY_LIST $tensor APPEND", "no dict of tensors")
    check("EMPTY_DICT 1 $tensor SETITEM", "a key that is no name")
    check(#"EMPTY_DICT EMPTY_TUPLE $tensor SETITEM"#, "a key that is no name")
    check(#"EMPTY_DICT MARK "a" $tensor "a" $tensor SETITEMS"#, item: "a", "names an entry twice")
    // Python keeps the last.
    check(
      #"EMPTY_DICT MARK "model" EMPTY_DICT "a" $tensor SETITEM "model" EMPTY_DICT SETITEMS"#, item: "model",
      "names an entry twice")
    check(#"EMPTY_DICT "model" EMPTY_DICT MARK "a" $tensor "a" 1 SETITEMS SETITEM"#, item: "a", "names an entry twice")
  }

  /// Each would take hours, gigabytes or the stack of whoever follows references; none has more values than are allowed.
  @Test(.timeLimit(.minutes(5)))
  func readsWhatNestsWithoutEnd() throws {
    let nests: [(String, [UInt8])] = [
      ("tuples", [UInt8](repeating: 0x85, count: 390_000)),
      // Each tuple holds the last twice: 2^190,000 leaves.
      ("laughs", (0..<190_000).flatMap { _ in [0x71, 0, 0x68, 0, 0x86] as [UInt8] }),
      ("lists", [UInt8](repeating: 0x5D, count: 390_000) + [UInt8](repeating: 0x61, count: 390_000)),
    ]
    for (name, nest) in nests {
      // {"a": tensor, "b": [[[…]]]}
      let front = PickleAssembler(#"EMPTY_DICT "a" $tensor SETITEM "b" EMPTY_LIST"#, isWhole: false).bytes
      let content = try TorchContents(TorchBytes.archive(front + nest + [0x73, 0x2E]).encoded.bytes)
      #expect(content.tensors.map(\.info.name) == ["a"] && content.others == ["b"], "\(name)")
    }
  }

  @Test func readsContainersInThemselves() throws {
    let pickle = PickleAssembler(
      #"""
      EMPTY_DICT BINPUT 0x00 MARK "a" $tensor "self" BINGET 0x00 "model" BINGET 0x00
      "list" EMPTY_LIST BINPUT 0x01 BINGET 0x01 APPEND SETITEMS
      """#)
    let content = try TorchContents(TorchBytes.archive(pickle.bytes).encoded.bytes)
    #expect(content.tensors.map(\.info.name) == ["a"])
    #expect(content.tensors.map(\.bytes) == [TorchBytes.sixteen])
  }

  @Test(.timeLimit(.minutes(5)))
  func boundsTheValues() {
    func check(_ pickle: [UInt8], _ plus: Int) {
      let (bytes, places) = TorchBytes.archive([0x80, 2] + pickle).encoded
      let offset = (places.contents["x/data.pkl"] ?? 0) + 2 + UInt64(plus)
      Fault(item: "x/data.pkl", offset: offset, says: "more values than any checkpoint").check(in: bytes)
    }
    let limit = PickleLimits.values
    check([UInt8](repeating: 0x29, count: limit + 10), limit)
    // A memoized value recalled again and again into a tuple.
    check([0x28, 0x5D, 0x71, 0] + [UInt8]((0..<limit).flatMap { _ in [0x68, 0] as [UInt8] }), 2 + 2 * limit)
  }

  @Test func readsTheLongestIntegers() throws {
    // 2^63 - 1 in nine bytes, -1 in none too few.
    let pickle = PickleAssembler(
      #"""
      EMPTY_DICT MARK "a" $tensor
      "b" LONG1 0x09 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0x7F 0x00
      "c" LONG1 0x09 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x80 0xFF
      "d" LONG1 0x00 "e" LONG1 0x01 0xFF SETITEMS
      """#)
    #expect(try TorchContents(TorchBytes.archive(pickle.bytes).encoded.bytes).others == ["b", "c", "d", "e"])
    // numel as a long of every length.
    for digits in ["0x01 0x04", "0x02 0x04 0x00", "0x09 0x04 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00"] {
      let pickle = PickleAssembler(
        #"EMPTY_DICT "a" $v2 MARK "storage" @torch.FloatStorage "0" "cpu" LONG1 \#(digits) TUPLE BINPERSID $all $end "#
          + "SETITEM")
      #expect(
        try TorchContents(TorchBytes.archive(pickle.bytes).encoded.bytes).tensors.map(\.bytes) == [TorchBytes.sixteen])
    }
  }
}

@Suite("Pickles of many kinds")
struct PickleTests {
  /// Every one of them is the same tensor.
  static let forms: [String] = [
    "$tensor",
    "$v1 $storage $all TUPLE REDUCE",
    "$v2 $storage $all $end",
    "$v2 $storage $all NEWTRUE $hooks EMPTY_DICT TUPLE REDUCE",
    "$v2 $storage $all NEWTRUE $hooks NONE TUPLE REDUCE",
    "$v3 $untyped $all NEWFALSE $hooks @torch.float32 TUPLE REDUCE",
    "$v2 $storage 0 @torch.Size 4 TUPLE1 TUPLE1 REDUCE 1 TUPLE1 $end",
    #"$v2 MARK "storage" @torch.cuda.FloatStorage "0" "cuda:3" 4 TUPLE BINPERSID $all $end"#,
    "@torch._utils._rebuild_parameter $tensor NEWTRUE $hooks TUPLE3 REDUCE",
    "@torch._utils._rebuild_parameter_with_state MARK $tensor NEWTRUE $hooks EMPTY_DICT TUPLE REDUCE",
    "@torch._tensor._rebuild_from_type_v2 MARK @torch._utils._rebuild_tensor_v2 @torch.nn.parameter.Parameter "
      + "MARK $storage $all NEWFALSE $hooks TUPLE EMPTY_DICT TUPLE REDUCE",
  ]

  @Test(arguments: forms)
  func readsATensor(_ form: String) throws {
    let pickle = PickleAssembler(#"EMPTY_DICT "a" \#(form) SETITEM"#)
    let content = try TorchContents(TorchBytes.archive(pickle.bytes).encoded.bytes)
    #expect(content.tensors.map(\.info.elementType.rawValue) == ["F32"])
    #expect(content.tensors.map(\.info.shape) == [[4]])
    #expect(content.tensors.map(\.bytes) == [TorchBytes.sixteen])
  }

  @Test(
    "Dicts of several kinds",
    arguments: [
      #"EMPTY_DICT MARK "a" $tensor "b" $tensor SETITEMS"#,
      #"$hooks "a" $tensor SETITEM "b" $tensor SETITEM"#,
      #"@collections.OrderedDict EMPTY_TUPLE NEWOBJ MARK "a" $tensor "b" $tensor SETITEMS"#,
      #"$hooks MARK "a" $tensor BINPUT 0x00 "b" BINGET 0x00 SETITEMS EMPTY_DICT "_metadata" $hooks SETITEM BUILD"#,
      #"EMPTY_DICT "model" EMPTY_DICT MARK "a" $tensor "b" $tensor SETITEMS SETITEM"#,
      #"EMPTY_DICT "state_dict" EMPTY_DICT MARK "a" $tensor "b" $tensor SETITEMS SETITEM"#,
      #"EMPTY_DICT "module" EMPTY_DICT MARK "a" $tensor "b" $tensor SETITEMS SETITEM"#,
    ])
  func readsADict(_ text: String) throws {
    let content = try TorchContents(TorchBytes.archive(PickleAssembler(text).bytes).encoded.bytes)
    #expect(content.tensors.map(\.info.name) == ["a", "b"])
    #expect(content.tensors.map(\.bytes) == [TorchBytes.sixteen, TorchBytes.sixteen])
  }

  /// What is left out is told: beside the dict of tensors, or no tensor.
  @Test func namesWhatItLeavesOut() throws {
    func others(_ text: String) throws -> [String] {
      let content = try TorchContents(TorchBytes.archive(PickleAssembler(text).bytes).encoded.bytes)
      #expect(content.tensors.map(\.info.name) == ["a"])
      return content.others
    }
    #expect(try others(#"EMPTY_DICT MARK "epoch" 3 "a" $tensor "rng" EMPTY_SET SETITEMS"#) == ["epoch", "rng"])
    #expect(
      try others(#"EMPTY_DICT MARK "rng" $tensor "model" EMPTY_DICT MARK "x" 1 "a" $tensor SETITEMS SETITEMS"#)
        == ["rng", "x"])
    // A dict of no tensors hides none.
    #expect(try others(#"EMPTY_DICT MARK "a" $tensor "model" EMPTY_DICT "x" 1 SETITEM SETITEMS"#) == ["model"])
  }
}
