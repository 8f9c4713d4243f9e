import Foundation

/// Pickles from text, as on `formats/pth.md`: opcodes under the names of Python's `pickletools`, and short forms.
///
///     "text"          BINUNICODE                  17, -1        the shortest integer opcode
///     @module.name    GLOBAL                      0x1F          this byte
///     $name           a word of `PickleAssembler.words`
///     ^               no byte: the place where the fault is
///
/// PROTO 2 in front and STOP behind are added.
struct PickleAssembler {
  private(set) var bytes: [UInt8] = [0x80, 2]
  /// Where `^` stands.
  private(set) var mark: Int?

  init(_ text: String, isWhole: Bool = true) {
    for token in Self.tokens(text) { add(token) }
    if isWhole { bytes.append(0x2E) }
  }

  static let words: [String: String] = [
    "storage": #"MARK "storage" @torch.FloatStorage "0" "cpu" 4 TUPLE BINPERSID"#,
    "untyped": #"MARK "storage" @torch.storage.UntypedStorage "0" "cpu" 16 TUPLE BINPERSID"#,
    "hooks": "@collections.OrderedDict EMPTY_TUPLE REDUCE",
    "v1": "@torch._utils._rebuild_tensor MARK",
    "v2": "@torch._utils._rebuild_tensor_v2 MARK",
    "v3": "@torch._utils._rebuild_tensor_v3 MARK",
    "all": "0 4 TUPLE1 1 TUPLE1",
    "end": "NEWFALSE $hooks TUPLE REDUCE",
    // All of the storage: four elements.
    "tensor": "$v2 $storage $all $end",
  ]

  static let opcodes: [String: UInt8] = [
    "PROTO": 0x80, "STOP": 0x2E, "MARK": 0x28, "POP": 0x30, "POP_MARK": 0x31, "DUP": 0x32,
    "EMPTY_DICT": 0x7D, "EMPTY_LIST": 0x5D, "EMPTY_TUPLE": 0x29, "EMPTY_SET": 0x8F, "DICT": 0x64, "LIST": 0x6C,
    "TUPLE": 0x74, "TUPLE1": 0x85, "TUPLE2": 0x86, "TUPLE3": 0x87, "FROZENSET": 0x91, "ADDITEMS": 0x90,
    "SETITEM": 0x73, "SETITEMS": 0x75, "APPEND": 0x61, "APPENDS": 0x65,
    "BINUNICODE": 0x58, "SHORT_BINUNICODE": 0x8C, "BINUNICODE8": 0x8D, "SHORT_BINSTRING": 0x55, "BINSTRING": 0x54,
    "BINBYTES": 0x42, "SHORT_BINBYTES": 0x43, "BYTEARRAY8": 0x96, "UNICODE": 0x56, "STRING": 0x53,
    "BININT": 0x4A, "BININT1": 0x4B, "BININT2": 0x4D, "LONG1": 0x8A, "LONG4": 0x8B, "INT": 0x49, "LONG": 0x4C,
    "BINFLOAT": 0x47, "FLOAT": 0x46, "NONE": 0x4E, "NEWTRUE": 0x88, "NEWFALSE": 0x89,
    "PUT": 0x70, "BINPUT": 0x71, "LONG_BINPUT": 0x72, "GET": 0x67, "BINGET": 0x68, "LONG_BINGET": 0x6A,
    "MEMOIZE": 0x94, "FRAME": 0x95, "GLOBAL": 0x63, "STACK_GLOBAL": 0x93, "EXT1": 0x82, "EXT2": 0x83, "EXT4": 0x84,
    "REDUCE": 0x52, "BUILD": 0x62, "INST": 0x69, "OBJ": 0x6F, "NEWOBJ": 0x81, "NEWOBJ_EX": 0x92,
    "PERSID": 0x50, "BINPERSID": 0x51, "NEXT_BUFFER": 0x97, "READONLY_BUFFER": 0x98,
  ]

  /// Words between spaces; quoted ones may have spaces.
  private static func tokens(_ text: String) -> [String] {
    var tokens: [String] = []
    var token = ""
    var isQuoted = false
    for unit in text.unicodeScalars {
      if unit == "\"" { isQuoted.toggle() }
      if !isQuoted, unit == " " || unit == "\n" {
        if !token.isEmpty { tokens.append(token) }
        token = ""
      } else {
        token.unicodeScalars.append(unit)
      }
    }
    return token.isEmpty ? tokens : tokens + [token]
  }

  private mutating func add(_ token: String) {
    if token == "^" {
      mark = bytes.count
    } else if let opcode = Self.opcodes[token] {
      bytes.append(opcode)
    } else if token.hasPrefix("\""), token.utf8.count >= 2 {
      let text = Array(token.utf8.dropFirst().dropLast())
      bytes += [0x58] + littleEndian(UInt32(text.count)) + text
    } else if token.hasPrefix("$"), let word = Self.words[String(token.dropFirst())] {
      for part in Self.tokens(word) { add(part) }
    } else if token.hasPrefix("@"), let dot = token.lastIndex(of: ".") {
      bytes += [0x63] + Array("\(token[..<dot].dropFirst())\n\(token[dot...].dropFirst())\n".utf8)
    } else if token.hasPrefix("0x"), let byte = UInt8(token.dropFirst(2), radix: 16) {
      bytes.append(byte)
    } else if let value = Int64(token) {
      bytes += Self.integer(value)
    } else {
      preconditionFailure("no pickle is made of \(token)")
    }
  }

  private static func integer(_ value: Int64) -> [UInt8] {
    switch value {
    case 0...0xFF: [0x4B, UInt8(value)]
    case 0...0xFFFF: [0x4D] + littleEndian(UInt16(value))
    case Int64(Int32.min)...Int64(Int32.max): [0x4A] + littleEndian(Int32(value))
    default: [0x8A, 8] + littleEndian(value)
    }
  }
}

func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  stride(from: 0, to: value.bitWidth, by: 8).map { UInt8(truncatingIfNeeded: value >> $0) }
}
