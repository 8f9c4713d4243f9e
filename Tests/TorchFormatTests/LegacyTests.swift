import ByteIO
import Support
import Testing
import TorchFormat

@Suite("Files before torch 1.6")
struct LegacyTests {
  private static let reference = #"MARK "storage" @torch.FloatStorage "0" "cpu" 4"#

  private static func dict(_ id: String, _ view: String = "$all") -> [UInt8] {
    PickleAssembler(#"EMPTY_DICT "a" $v2 \#(id) TUPLE BINPERSID \#(view) $end SETITEM"#).bytes
  }

  private static let plain = dict(reference + " NONE")

  @Test func readsTensors() throws {
    #expect(try TorchContents(TorchBytes.legacy(Self.plain)).tensors.map(\.bytes) == [TorchBytes.sixteen])
  }

  /// Elements 1 to 3 of the storage as a storage of its own.
  @Test func readsViewsOfStorages() throws {
    let view = Self.dict(Self.reference + #" MARK "1" 1 3 TUPLE"#, "0 3 TUPLE1 1 TUPLE1")
    #expect(try TorchContents(TorchBytes.legacy(view)).tensors.map(\.bytes) == [Array(TorchBytes.sixteen[4...])])
    let beyond = Self.dict(Self.reference + #" MARK "1" 1 2 TUPLE"#, "0 3 TUPLE1 1 TUPLE1")
    Fault(item: "a", says: "beyond its storage's view").check(in: TorchBytes.legacy(beyond))
    for bounds in ["1 4", "5 0", "-1 2", "9223372036854775807 9223372036854775807"] {
      let id = Self.reference + #" MARK "1" \#(bounds) TUPLE"#
      check(TorchBytes.legacy(Self.dict(id)), "malformed or reaches beyond")
    }
  }

  @Test func refusesWhatIsInconsistent() {
    check(TorchBytes.legacy(Self.plain, version: "1000"), "version is not 1001")
    check(TorchBytes.legacy(Self.plain, facts: #"EMPTY_DICT "little_endian" NEWFALSE SETITEM"#), "little-endian")
    check(TorchBytes.legacy(Self.plain, facts: "EMPTY_LIST"), "little-endian")
    check(TorchBytes.legacy(Self.plain, keys: "EMPTY_DICT"), "list of storage keys is missing")
    check(TorchBytes.legacy(Self.plain, keys: "EMPTY_LIST 0 APPEND"), "names one twice or one that no tensor has")
    check(TorchBytes.legacy(Self.plain, keys: #"EMPTY_LIST "1" APPEND"#), "one that no tensor has")
    check(TorchBytes.legacy(Self.plain, keys: #"EMPTY_LIST "0" APPEND "0" APPEND"#), "names one twice")
    check(TorchBytes.legacy(Self.plain, keys: "EMPTY_LIST", storages: []), "is missing from the file")
    check(TorchBytes.legacy(Self.plain, storages: [(3, TorchBytes.sixteen)]), "has 3 elements here")
    check(TorchBytes.legacy(Self.plain, storages: [(-4, TorchBytes.sixteen)]), "has -4 elements here")
    check(TorchBytes.legacy(Self.plain, storages: [(4, TorchBytes.sixteen + [0])]), "1 bytes stand behind")
    check(TorchBytes.legacy(Self.plain, storages: [(4, Array(TorchBytes.sixteen.dropLast()))]), "beyond the end")
    let huge = Self.dict(#"MARK "storage" @torch.FloatStorage "0" "cpu" 9223372036854775807 NONE"#)
    check(TorchBytes.legacy(huge, storages: [(.max, TorchBytes.sixteen)]), "beyond the end")
    check(TorchBytes.legacy(Self.dict(Self.reference)), "no storage reference")
    check(TorchBytes.legacy(PickleAssembler("@os.system").bytes), "mentions os.system")
  }

  private func check(_ bytes: [UInt8], _ says: String, sourceLocation: SourceLocation = #_sourceLocation) {
    let failure = #expect(throws: ParseFailure.self, sourceLocation: sourceLocation) { try TorchContents(bytes) }
    #expect(failure?.message.contains(says) == true, "\(String(describing: failure))", sourceLocation: sourceLocation)
  }
}
