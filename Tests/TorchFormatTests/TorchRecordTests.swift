import ByteIO
import Support
import Tensors
import Testing
import TorchFormat

/// What torch does not mind, and what it should mind.
@Suite("Records of torch's archives")
struct TorchRecordTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let edit: @Sendable (inout ZipBytes) -> Void

    init(_ name: String, _ edit: @escaping @Sendable (inout ZipBytes) -> Void) {
      testDescription = name
      self.edit = edit
    }
  }

  static let storage = ArchiveCase.storage

  /// Files that torch reads with the same values, and so do we.
  static let harmless: [Variant] = [
    Variant("as it is") { _ in },
    Variant("a zip64 end record") { $0.wideEnd = ZipBytes.WideEnd() },
    Variant("a zip64 end record that all points to") {
      $0.wideEnd = ZipBytes.WideEnd()
      ($0.end.entries, $0.end.size, $0.end.offset) = (0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF)
    },
    Variant("a descriptor") { $0[storage].describe() },
    Variant("a descriptor without signature") { $0[storage].describe(hasSignature: false) },
    Variant("a descriptor of 64-bit sizes") { $0[storage].describe(isWide: true) },
    Variant("a descriptor of 64-bit sizes without signature") {
      $0[storage].describe(isWide: true, hasSignature: false)
    },
    Variant("zip64 fields in both headers") {
      let sizes = littleEndian(UInt64(16)) + littleEndian(UInt64(16))
      ($0[storage].size, $0[storage].packedSize) = (0xFFFF_FFFF, 0xFFFF_FFFF)
      ($0[storage].extra, $0[storage].localExtra) = (ZipBytes.field(1, sizes), ZipBytes.field(1, sizes))
    },
    Variant("an offset in a zip64 field") { zip in
      let offset = zip.encoded.places.headers[storage] ?? 0
      zip[storage].headerOffset = 0xFFFF_FFFF
      zip[storage].extra = ZipBytes.field(1, littleEndian(offset))
    },
    Variant("extra fields of other tools") {
      $0[storage].extra = ZipBytes.field(0x5455, [0, 1, 2, 3, 4])
      $0[storage].localExtra = ZipBytes.field(0x5455, [0, 1, 2, 3, 4]) + [7]
    },
    Variant("no UTF-8 flag") { for index in $0.records.indices { $0.records[index].flags = 0 } },
    Variant("another order") { $0.records.reverse() },
    Variant("another folder") {
      for index in $0.records.indices { $0.records[index].name[0] = UInt8(ascii: "Y") }
    },
    Variant("no byte order") { zip in zip.records.removeAll { $0.name == Array("x/byteorder".utf8) } },
    Variant("records that nobody knows") {
      $0.records.append(ZipBytes.Record("x/.data/serialization_id", [0x30]))
      $0.records.append(ZipBytes.Record("x/data/", []))
      $0.records.append(ZipBytes.Record("x/data/17", [1, 2, 3]))
    },
    Variant("the version under its other name") { $0["x/version"].name = Array("x/.data/version".utf8) },
    Variant("version 10") { $0["x/version"] = ZipBytes.Record("x/version", Array("10".utf8)) },
  ]

  @Test(arguments: harmless)
  func reads(_ variant: Variant) throws {
    var zip = TorchBytes.plain
    variant.edit(&zip)
    #expect(try TorchContents(zip.encoded.bytes) == TorchContents(TorchBytes.plain.encoded.bytes))
    #expect(try TorchContents(zip.encoded.bytes).tensors.map(\.bytes) == [TorchBytes.sixteen])
  }

  /// torch accepts each of these without a word, with `mmap=True` or without: values would be wrong or unproven.
  @Test func refusesWhatTorchTakesSilently() {
    var zip = TorchBytes.plain
    zip[Self.storage] = ZipBytes.Record(Self.storage, Array(TorchBytes.sixteen.dropLast(4)))
    check(zip, Self.storage, \.headers, "has 12 bytes, the pickle says 4 elements of 4")
    zip[Self.storage] = ZipBytes.Record(Self.storage, TorchBytes.sixteen + [0, 0, 0, 0])
    check(zip, Self.storage, \.headers, "has 20 bytes, the pickle says 4 elements of 4")
    zip = TorchBytes.plain
    zip[Self.storage].checksum ^= 1
    check(zip, Self.storage, \.contents, "CRC-32")
  }

  @Test func checksEverySmallRecord() {
    for name in ["x/data.pkl", "x/byteorder", "x/version", "x/.data/serialization_id"] {
      var zip = TorchBytes.plain
      zip.records.append(ZipBytes.Record("x/.data/serialization_id", [0x30]))
      zip[name].checksum ^= 1
      check(zip, name, \.contents, "CRC-32")
    }
  }

  @Test func checksTheSumOfNothing() {
    let pickle = PickleAssembler(
      #"EMPTY_DICT "a" $v2 MARK "storage" @torch.FloatStorage "0" "cpu" 0 TUPLE BINPERSID 0 0 TUPLE1 1 TUPLE1 $end SETITEM"#
    )
    var zip = TorchBytes.archive(pickle.bytes, ["0": []])
    zip[Self.storage].checksum = 7
    check(zip, Self.storage, \.contents, "CRC-32 is 0")
  }

  @Test func refusesOtherKindsOfFiles() {
    var zip = TorchBytes.plain
    zip.records.append(ZipBytes.Record("x/constants.pkl", []))
    Fault(item: "x/constants.pkl", says: "TorchScript").check(in: zip.encoded.bytes)
    zip = TorchBytes.plain
    zip["x/byteorder"] = ZipBytes.Record("x/byteorder", Array("big".utf8))
    check(zip, "x/byteorder", \.contents, "the byte order is big")
    for version in ["0", "11", "", "three", "-3", "3.0", "99999999999999999999"] {
      zip = TorchBytes.plain
      zip["x/version"] = ZipBytes.Record("x/version", Array(version.utf8))
      check(zip, "x/version", \.contents, "expected 1 to 10")
    }
    // torch prefers the hidden one.
    zip = TorchBytes.plain
    zip.records.append(ZipBytes.Record("x/.data/version", Array("99".utf8)))
    check(zip, "x/.data/version", \.contents, "expected 1 to 10")
  }

  @Test func refusesMissingRecords() {
    for (name, says) in [("x/version", "no record x/version"), ("x/data.pkl", "no record x/data.pkl")] {
      var zip = TorchBytes.plain
      zip.records.removeAll { $0.name == Array(name.utf8) }
      Fault(says: says).check(in: zip.encoded.bytes)
    }
    var zip = TorchBytes.plain
    zip.records.removeAll { $0.name == Array(Self.storage.utf8) }
    Fault(item: Self.storage, says: "which is not in the archive").check(in: zip.encoded.bytes)
    zip = TorchBytes.plain
    zip.records = [ZipBytes.Record("data.pkl", [])]
    Fault(says: "in no folder").check(in: zip.encoded.bytes)
    // A folder in a folder: torch looks for x/version.
    zip = TorchBytes.plain
    for index in zip.records.indices { zip.records[index].name = Array("x/".utf8) + zip.records[index].name }
    Fault(says: "no record x/version").check(in: zip.encoded.bytes)
  }

  /// One character to Swift's strings, two names in a file.
  @Test func keepsFormsOfACharacterApart() throws {
    let (composed, decomposed) = ("caf\u{E9}", "cafe\u{301}")
    func tensor(_ key: String) -> String {
      #"$v2 MARK "storage" @torch.FloatStorage "\#(key)" "cpu" 4 TUPLE BINPERSID $all $end"#
    }
    let pickle = PickleAssembler(
      #"EMPTY_DICT MARK "\#(composed)" \#(tensor(composed)) "\#(decomposed)" \#(tensor(decomposed)) SETITEMS"#)
    var zip = TorchBytes.archive(pickle.bytes, ["0": []])
    zip.records.append(ZipBytes.Record("x/data/" + composed, TorchBytes.sixteen))
    zip.records.append(ZipBytes.Record("x/data/" + decomposed, TorchBytes.sixteen.reversed()))
    let file = try opened(zip.encoded.bytes)
    #expect(file.tensors.map { Array($0.name.utf8) } == [Array(composed.utf8), Array(decomposed.utf8)])
    #expect(try file.bytes(of: composed) == TorchBytes.sixteen)
    #expect(try file.bytes(of: decomposed) == TorchBytes.sixteen.reversed())
    try file.proveIntegrity()

    let one = PickleAssembler(#"EMPTY_DICT "a" \#(tensor(decomposed)) SETITEM"#)
    let other = TorchBytes.archive(one.bytes, [composed: TorchBytes.sixteen])
    Fault(item: "x/data/" + decomposed, says: "not in the archive").check(in: other.encoded.bytes)
  }

  /// A slash with an accent is a slash still.
  @Test func endsTheFolderAtTheFirstSlash() {
    var zip = TorchBytes.plain
    let accent = Array("\u{301}".utf8)
    for index in zip.records.indices { zip.records[index].name.insert(contentsOf: accent + Array("y/".utf8), at: 2) }
    Fault(says: "no record x/version").check(in: zip.encoded.bytes)
  }

  private func check(
    _ zip: ZipBytes, _ record: String, _ place: KeyPath<ZipBytes.Places, [String: UInt64]>, _ says: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let (bytes, places) = zip.encoded
    Fault(item: record, offset: places[keyPath: place][record], says: says)
      .check(in: bytes, sourceLocation: sourceLocation)
  }
}
