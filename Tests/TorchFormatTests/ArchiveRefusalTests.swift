import ByteIO
import Support
import Testing
import TorchFormat

/// A file that torch or another zip tool would take in one way or another, and the fault that this reader sees.
struct ArchiveCase: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let bytes: [UInt8]
  let fault: Fault

  /// - Parameters:
  ///   - item: the record named; nil for faults of the archive.
  ///   - place: where in the file.
  init(
    _ name: String, item: String? = nil, at place: (ZipBytes.Places) -> UInt64? = { _ in nil }, says: String,
    _ edit: (inout ZipBytes) -> Void
  ) {
    var zip = TorchBytes.plain
    edit(&zip)
    let (bytes, places) = zip.encoded
    self.bytes = bytes
    fault = Fault(item: item, offset: place(places), says: says)
    testDescription = name
  }

  static let storage = "x/data/0"

  /// A fault seen at the storage's local header.
  static func local(_ name: String, says: String, _ edit: (inout ZipBytes.Record) -> Void) -> ArchiveCase {
    ArchiveCase(name, item: storage, at: { $0.headers[storage] }, says: says) { edit(&$0[storage]) }
  }

  /// A fault seen at the storage's central header.
  static func central(
    _ name: String, item: String? = storage, says: String, _ edit: (inout ZipBytes.Record) -> Void
  ) -> ArchiveCase {
    ArchiveCase(name, item: item, at: { $0.centrals[storage] }, says: says) { edit(&$0[storage]) }
  }

  /// A fault of the end record.
  static func end(_ name: String, says: String, _ edit: (inout ZipBytes) -> Void) -> ArchiveCase {
    ArchiveCase(name, at: { $0.end }, says: says, edit)
  }
}

extension ArchiveCase {
  static let ends: [ArchiveCase] = [
    end("a comment announced", says: "several disks or of a comment") { $0.end.commentCount = 3 },
    ArchiveCase("a comment", at: { $0.end + 3 }, says: "no zip end record at the end") {
      ($0.end.commentCount, $0.behind) = (3, [1, 2, 3])
    },
    ArchiveCase("bytes behind the end record", at: { $0.end + 1 }, says: "no zip end record at the end") {
      $0.behind = [0]
    },
    ArchiveCase("a whole archive behind it", at: { _ in 0 }, says: "before the first record") {
      $0.inFront = TorchBytes.plain.encoded.bytes
    },
    ArchiveCase("a byte in front", says: "neither a zip record nor") { $0.inFront = [0] },
    ArchiveCase("a false record in front", at: { _ in 0 }, says: "before the first record") {
      $0.inFront = [0x50, 0x4B, 3, 4]
    },
    end("another disk", says: "several disks") { $0.end.disk = 1 },
    end("the directory on another disk", says: "several disks") { $0.end.directoryDisk = 1 },
    end("fewer records on this disk", says: "several disks") { $0.end.entriesHere = 3 },
    end("more records than the directory has room for", says: "do not fit") { $0.end.entries = 0xFFFF },
    end("one record more than there are", says: "do not fit") { $0.end.entries = 5 },
    ArchiveCase("a record more, and room for it", at: { $0.end }, says: "4 bytes expected, 0 left") {
      $0.records.append(ZipBytes.Record("x/" + String(repeating: "a", count: 60), []))
      $0.end.entries = 6
    },
    ArchiveCase("one record less than there are", at: { $0.centrals["x/version"] }, says: "behind the central") {
      $0.end.entries = 3
    },
    end("a directory that is longer", says: "does not end where") { $0.end.size = 5000 },
    end("a directory elsewhere", says: "does not end where") { $0.end.offset = 0 },
    end("a directory beyond 4 GiB without zip64", says: "does not end where") { $0.end.offset = 0xFFFF_FFFF },
    end("bytes behind the directory", says: "does not end where") {
      let places = $0.encoded.places
      $0.end.size = UInt32(places.end - (places.centrals["x/data.pkl"] ?? 0))
      $0.behindDirectory = [0]
    },
    ArchiveCase("bytes behind the last central header", at: { $0.end - 1 }, says: "behind the central directory's last")
    {
      $0.behindDirectory = [0]
    },
    ArchiveCase(
      "bytes before the directory", item: "x/version", at: { $0.descriptors["x/version"] }, says: "expected none"
    ) { $0.beforeDirectory = [0, 0] },
  ]

  static let wideEnds: [ArchiveCase] = [
    wide("no zip64 end record before its locator", \.wideEnd, "no zip64 end record of 56") { $0.signature = 0 },
    wide("a zip64 end record of another size", \.wideEnd, "no zip64 end record of 56") { $0.recordSize = 45 },
    wide("zip64: several disks", \.wideEnd, "several disks") { $0.disks = 1 << 32 },
    wide("zip64: fewer records on this disk", \.wideEnd, "several disks") { $0.entriesHere = 3 },
    wide("zip64: a locator on another disk", \.locator, "does not point at") { $0.locatorDisk = 1 },
    wide("zip64: two disks", \.locator, "does not point at") { $0.locatorDisks = 2 },
    wide("zip64: a locator that points elsewhere", \.locator, "does not point at") { $0.locatorOffset = 0 },
    wide("zip64: a locator beyond the file", \.locator, "does not point at") { $0.locatorOffset = .max },
    wide("zip64: another count than the end record", \.end, "contradict") { $0.entries = 3 },
    wide("zip64: another size than the end record", \.end, "contradict") { $0.size = 1 },
    wide("zip64: another offset than the end record", \.end, "contradict") { $0.offset = 1 },
    end("zip64: sizes that overflow", says: "does not end where") {
      $0.wideEnd = ZipBytes.WideEnd(size: .max, offset: .max)
      ($0.end.size, $0.end.offset) = (0xFFFF_FFFF, 0xFFFF_FFFF)
    },
    end("zip64: records without end", says: "do not fit") {
      $0.wideEnd = ZipBytes.WideEnd(entries: .max)
      $0.end.entries = 0xFFFF
    },
  ]

  private static func wide(
    _ name: String, _ place: KeyPath<ZipBytes.Places, UInt64?>, _ says: String,
    _ edit: (inout ZipBytes.WideEnd) -> Void
  ) -> ArchiveCase {
    var wide = ZipBytes.WideEnd()
    edit(&wide)
    return ArchiveCase(name, at: { $0[keyPath: place] }, says: says) { $0.wideEnd = wide }
  }

  private static func wide(
    _ name: String, _ place: KeyPath<ZipBytes.Places, UInt64>, _ says: String,
    _ edit: (inout ZipBytes.WideEnd) -> Void
  ) -> ArchiveCase {
    var wide = ZipBytes.WideEnd()
    edit(&wide)
    return ArchiveCase(name, at: { $0[keyPath: place] }, says: says) { $0.wideEnd = wide }
  }

  static let headers: [ArchiveCase] = [
    local("no local header", says: "no local header is here") { $0.localSignature = 0x0403_4B51 },
    local("another name in the local header", says: "another name") { $0.localName = Array("x/data/1".utf8) },
    local("a longer name in the local header", says: "another name") { $0.localName = Array("x/data/00".utf8) },
    local("other flags in the local header", says: "disagree about flags") { $0.localFlags = 0 },
    local("another method in the local header", says: "disagree about flags or compression") { $0.localMethod = 8 },
    local("another size in the local header", says: "disagree about size") { $0.localSize = 15 },
    local("another stored size in the local header", says: "disagree about size") { $0.localPackedSize = 17 },
    local("another CRC in the local header", says: "disagree about size or CRC") { $0.localChecksum = 1 },
    local("no size in the local header, and no descriptor", says: "disagree about size") { $0.localSize = 0 },
    local("a zip64 size in the local header that is another", says: "disagree about size") {
      ($0.localSize, $0.localPackedSize) = (0xFFFF_FFFF, 0xFFFF_FFFF)
      $0.localExtra = ZipBytes.field(1, littleEndian(UInt64(16)) + littleEndian(UInt64(17)))
    },
    ArchiveCase(
      "a zip64 size in the local header that is missing", at: { $0.contents[storage] },
      says: "need a zip64 field"
    ) { $0[storage].localSize = 0xFFFF_FFFF },
    local("a record that is longer than its room", says: "reach beyond") { ($0.size, $0.packedSize) = (1000, 1000) },
    local("a record of 4 GiB", says: "reach beyond") { ($0.size, $0.packedSize) = (0xFFFF_FFFE, 0xFFFF_FFFE) },
    ArchiveCase(
      "a record that is shorter than its room", item: storage, at: { $0.contents[storage].map { $0 + 15 } },
      says: "1 bytes stand behind the record, expected none"
    ) { ($0[storage].size, $0[storage].packedSize) = (15, 15) },
    ArchiveCase(
      "bytes between two records", item: storage, at: { $0.descriptors[storage] }, says: "expected none"
    ) { $0[storage].behind = [0] },
    local("a record that overlaps the next", says: "reach beyond") { $0.overlap = 1 },
    ArchiveCase(
      "two records in one place", item: "x/byteorder", at: { $0.headers["x/byteorder"] }, says: "no room for a local"
    ) { $0[storage].headerOffset = UInt32($0.encoded.places.headers["x/byteorder"] ?? 0) },
    ArchiveCase(
      "a record behind the directory", item: storage, at: { $0.descriptors[storage] }, says: "expected none"
    ) { $0["x/version"].headerOffset = 5000 },
    ArchiveCase("a record inside another", item: "x/data.pkl", at: { _ in 0 }, says: "reach beyond byte 50") {
      $0[storage].headerOffset = 50
    },
  ]

  static let directories: [ArchiveCase] = [
    central("no central header", item: nil, says: "no central header") { $0.signature = 0 },
    central("a record on another disk", says: "another disk") { $0.disk = 1 },
    central("a record with a comment", says: "has a comment") { $0.comment = [0x20] },
    central("an encrypted record", says: "encryption") { $0.flags |= 1 },
    central("a strongly encrypted record", says: "encryption") { $0.flags |= 1 << 6 },
    central("a masked directory", says: "encryption") { $0.flags |= 1 << 13 },
    central("a patch", says: "flags") { $0.flags |= 1 << 5 },
    central("deflate64", says: "method 9") { $0.method = 9 },
    central("bzip2", says: "method 12") { $0.method = 12 },
    central("zstandard", says: "method 93") { $0.method = 93 },
    central("a stored record of two sizes", says: "a stored record of 16 bytes takes 17") { $0.packedSize = 17 },
    central("a stored record that would be longer unpacked", says: "a stored record of 99") { $0.size = 99 },
    extra("a size without its zip64 field", says: "need a zip64 field") { $0.size = 0xFFFF_FFFF },
    extra("an offset without its zip64 field", says: "need a zip64 field") { $0.headerOffset = 0xFFFF_FFFF },
    extra("an extra field cut short", says: "2 bytes expected, 1 left", plus: 2) { $0.extra = [1, 2, 3] },
    extra("an extra field longer than the extra fields", says: "9 bytes expected, 0 left", plus: 4) {
      $0.extra = littleEndian(UInt16(7)) + littleEndian(UInt16(9))
    },
    extra("a zip64 field that nothing asks for", says: "too long", plus: 4) {
      $0.extra = ZipBytes.field(1, littleEndian(UInt64(16)))
    },
    extra("a zip64 field that is too short", says: "8 bytes expected, 4 left", plus: 4) {
      $0.size = 0xFFFF_FFFF
      $0.extra = ZipBytes.field(1, littleEndian(UInt32(16)))
    },
    extra("two zip64 fields", says: "two zip64 fields", plus: 8) {
      $0.extra = ZipBytes.field(1, []) + ZipBytes.field(1, [])
    },
    extra("a second name", says: "a second name", plus: 4) {
      $0.extra = ZipBytes.field(0x7075, [1, 0, 0, 0, 0] + Array("x/data/1".utf8))
    },
  ]

  /// A fault in the storage's extra field of the central directory.
  private static func extra(
    _ name: String, says: String, plus: UInt64 = 0, _ edit: (inout ZipBytes.Record) -> Void
  ) -> ArchiveCase {
    let place = { (places: ZipBytes.Places) in
      places.centrals[storage].map { $0 + 46 + UInt64(storage.utf8.count) + plus }
    }
    return ArchiveCase(name, at: place, says: says) { edit(&$0[storage]) }
  }

  static let descriptors: [ArchiveCase] = [
    described("no descriptor where one is announced", says: "expected a data descriptor") { $0.behind = [] },
    described("a descriptor cut short", says: "expected a data descriptor") { $0.behind.removeLast(6) },
    described("a byte behind the descriptor", says: "expected a data descriptor") { $0.behind.append(0) },
    described("a descriptor with another signature", says: "contradicts") { $0.behind[0] = 0 },
    described("a descriptor with another CRC", says: "contradicts") { $0.behind[4] ^= 1 },
    described("a descriptor with another stored size", says: "contradicts") { $0.behind[8] ^= 1 },
    described("a descriptor with another size", says: "contradicts") { $0.behind[12] ^= 1 },
    described("a descriptor without the flag", says: "expected none") {
      $0.flags = 0x800
      ($0.localSize, $0.localPackedSize, $0.localChecksum) = (nil, nil, nil)
    },
  ]

  private static func described(
    _ name: String, says: String, _ edit: (inout ZipBytes.Record) -> Void
  ) -> ArchiveCase {
    ArchiveCase(name, item: storage, at: { $0.descriptors[storage] }, says: says) {
      $0[storage].describe()
      edit(&$0[storage])
    }
  }

  static let names: [ArchiveCase] =
    [
      named("a name that leads out of the folder", "x/../data/0", says: "no plain relative path"),
      named("a name with a point for a folder", "x/./data/0", says: "no plain relative path"),
      named("a name with a backslash", "x\\data\\0", says: "no plain relative path"),
      named("an absolute name", "/x/data/0", says: "no plain relative path"),
      named("a name with an empty part", "x//data/0", says: "no plain relative path"),
      named("an empty name", "", says: "no plain relative path"),
      named("a name with a zero byte", "x/data/0\0", says: "no plain relative path"),
      named("a name with a line end", "x/data/0\n", says: "no plain relative path"),
      ArchiveCase("a name that is not UTF-8", at: { $0.centrals["x/data/\u{FFFD}"] }, says: "not UTF-8") {
        $0[storage].name = Array("x/data/".utf8) + [0xFF]
      },
      ArchiveCase("a name of 513 bytes", at: { $0.centrals["x/" + long] }, says: "has 513 bytes") {
        $0[storage].name = Array(("x/" + long).utf8)
      },
      ArchiveCase("a record in another folder", item: "y/data/0", at: { $0.headers["y/data/0"] }, says: "not in x/") {
        $0[storage].name = Array("y/data/0".utf8)
      },
    ]

  private static let long = String(repeating: "a", count: 511)

  private static func named(_ description: String, _ name: String, says: String) -> ArchiveCase {
    ArchiveCase(description, item: name, at: { $0.centrals[name] }, says: says) { $0[storage].name = Array(name.utf8) }
  }
}

@Suite("Archives that are refused")
struct ArchiveRefusalTests {
  @Test(
    arguments: ArchiveCase.ends + ArchiveCase.wideEnds + ArchiveCase.headers + ArchiveCase.directories
      + ArchiveCase.descriptors + ArchiveCase.names)
  func refuses(_ file: ArchiveCase) { file.fault.check(in: file.bytes) }

  /// torch looks names up without regard to case and takes the first in the directory; Python's zipfile takes the last.
  @Test(arguments: ["x/data/0", "x/DATA/0"])
  func refusesNamesThatAreTheSameForSome(_ name: String) {
    var zip = TorchBytes.plain
    zip.records.append(ZipBytes.Record(name, [UInt8](repeating: 1, count: 16)))
    let (bytes, places) = zip.encoded
    // Places are those of the first of a name.
    let offset = name == "x/data/0" ? places.descriptors["x/version"] : places.headers[name]
    Fault(item: name, offset: offset, says: "two records have this name").check(in: bytes)
  }

  @Test func refusesWhatIsTooShort() {
    Fault(says: "neither a zip record nor").check(in: [])
    Fault(says: "neither a zip record nor").check(in: Array("PK".utf8))
    Fault(says: "too few for a zip archive").check(in: [0x50, 0x4B, 3, 4])
    Fault(offset: 0, says: "no zip end record").check(in: [0x50, 0x4B, 3, 4] + [UInt8](repeating: 0, count: 18))
  }

  @Test func refusesATarFile() {
    var bytes = [UInt8](repeating: 0, count: 512)
    bytes.replaceSubrange(257..<262, with: Array("ustar".utf8))
    Fault(says: "tar file of torch 0.1").check(in: bytes)
  }
}

/// What deflating adds: `x/data/0` as a stream that is not what it says.
@Suite("Deflated records")
struct DeflatedTests {
  private let storage = ArchiveCase.storage

  private func archive(_ stream: [UInt8], _ content: [UInt8] = TorchBytes.sixteen) -> ZipBytes {
    var zip = TorchBytes.plain
    zip[storage] = ZipBytes.Record(storage, content, deflated: stream)
    return zip
  }

  @Test func readsTheSameContent() throws {
    var zip = archive(DeflateBytes.stored(TorchBytes.sixteen))
    let pickle = zip["x/data.pkl"].content
    zip["x/data.pkl"] = ZipBytes.Record("x/data.pkl", pickle, deflated: DeflateBytes.stored(pickle))
    #expect(try TorchContents(zip.encoded.bytes) == TorchContents(TorchBytes.plain.encoded.bytes))
  }

  @Test func refusesStreamsThatLie() {
    let stream = DeflateBytes.stored(TorchBytes.sixteen)
    let place = archive(stream).encoded.places.contents[storage] ?? 0
    func check(_ stream: [UInt8], _ plus: Int, item: String = "a", _ says: String) {
      Fault(item: item, offset: place + UInt64(plus), says: says).check(in: archive(stream).encoded.bytes)
    }
    check(DeflateBytes.stored(TorchBytes.sixteen + [0]), 0, "longer than the 16 bytes stated")
    check(DeflateBytes.zeros(1000), 0, "longer than the 16 bytes stated")
    check(DeflateBytes.stored(Array(TorchBytes.sixteen.dropLast())), 0, item: storage, "the inflated record has 15")
    check(DeflateBytes.stored(TorchBytes.sixteen.reversed()), 0, item: storage, "CRC-32")
    check(stream + [0], stream.count, "ends 1 bytes before its record does")
    check(Array(stream.dropLast()), stream.count - 1, "cut short")
    check([], 0, "cut short")
    check([0xFF], 1, "no deflate stream")
  }

  @Test func refusesWhatNoStreamCanHold() {
    var zip = archive(DeflateBytes.stored(TorchBytes.sixteen))
    zip[storage].size = 100_000
    let (bytes, places) = zip.encoded
    Fault(item: storage, offset: places.centrals[storage], says: "21 bytes cannot hold 100000").check(in: bytes)
  }

  /// Places to read from are between blocks: one block of any size would have every read inflate all before it.
  @Test func refusesABlockWithoutEnd() throws {
    let copies = (66 << 20) / 258
    let content = [UInt8](repeating: 0, count: copies * 258 + 1)
    let pickle = PickleAssembler(
      #"EMPTY_DICT "a" $v2 MARK "storage" @torch.ByteStorage "0" "cpu" \#(content.count) TUPLE BINPERSID "#
        + "0 \(content.count) TUPLE1 1 TUPLE1 $end SETITEM")
    var zip = TorchBytes.archive(pickle.bytes)
    zip[storage] = ZipBytes.Record(storage, content, deflated: DeflateBytes.zeros(copies))
    let failure = #expect(throws: ParseFailure.self) { try part(opened(zip.encoded.bytes), "a", 0..<1) }
    #expect(failure?.message.contains("a block of the compressed stream holds more than") == true)
  }

  @Test func refusesStridedViews() {
    var zip = TorchBytes.archive(
      PickleAssembler(#"EMPTY_DICT "a" $v2 $storage 0 2 TUPLE1 2 TUPLE1 $end SETITEM"#).bytes)
    zip[storage] = ZipBytes.Record(storage, TorchBytes.sixteen, deflated: DeflateBytes.stored(TorchBytes.sixteen))
    Fault(item: "a", says: "strided view of a deflated record").check(in: zip.encoded.bytes)
  }

  @Test func refusesALargePickle() {
    var zip = TorchBytes.plain
    zip["x/data.pkl"] = ZipBytes.Record("x/data.pkl", [1], deflated: [UInt8](repeating: 0, count: 70_000))
    zip["x/data.pkl"].size = UInt32(PickleLimits.byteCount + 1)
    Fault(item: "x/data.pkl", offset: 0, says: "at most \(PickleLimits.byteCount) are read").check(
      in: zip.encoded.bytes)
  }
}
