import ByteIO
import Checkpoints
import Conversion
import Foundation
import Quantization
import SafetensorsFormat
import Support
import Testing

/// Opens, plans, checks the place, runs, proves and publishes.
@discardableResult
func convert(_ input: String, to output: String, _ options: ConversionOptions) throws -> SelfCheck {
  let plan = try ConversionPlan(try Checkpoint(path: input), output: output, options: options)
  try plan.preflight()
  let run = try ConversionRun(plan)
  let check = try SelfCheck(run)
  try ConversionRecord(run, check, verification: nil).publish(replacing: options.force)
  return check
}

/// All that was published under a name: a directory's files, or a file and what lies beside it under names that begin alike.
func published(_ path: String) throws -> [String: [UInt8]] {
  if try FileSystem.kind(of: path) == .directory { return try contents(ofDirectory: path) }
  let parent = FileSystem.parent(of: path)
  let names = try FileSystem.names(in: parent).filter { $0.hasPrefix(FileSystem.lastComponent(of: path)) }
  return try Dictionary(
    uniqueKeysWithValues: names.map { ($0, try Fixtures.bytes(URL(filePath: parent + "/" + $0))) })
}

func plan(_ input: String, _ options: ConversionOptions, output: String = "/nowhere/out") throws -> ConversionPlan {
  try ConversionPlan(try Checkpoint(path: input), output: output, options: options)
}

func digest(_ path: String) throws -> ModelDigest { try Checkpoint(path: path).digest(threads: 2) }

/// All tensors of a published directory, whatever its shards, read by the oracle.
func tensors(ofModelAt path: String) throws -> [String: SafetensorsBytes.Tensor] {
  var all: [String: SafetensorsBytes.Tensor] = [:]
  for name in try FileManager.default.contentsOfDirectory(atPath: path) where name.hasSuffix(".safetensors") {
    all.merge(try SafetensorsBytes(URL(filePath: path + "/" + name)).tensors) { first, _ in first }
  }
  return all
}

/// A JSON file read by Foundation, an oracle for ours.
func foundationJSON(_ path: String) throws -> [String: Any] {
  let data = try Data(contentsOf: URL(filePath: path))
  guard let object = try JSONSerialization.jsonObject(with: data) as? [String: Any] else {
    throw CocoaError(.fileReadCorruptFile)
  }
  return object
}

extension ConversionOptions {
  static func fp8(_ recipe: FP8Recipe, threads: Int = 2) -> ConversionOptions {
    ConversionOptions(target: .fp8(recipe), threads: threads)
  }
}

/// The shards that a plan for a Hugging Face directory writes.
func safetensors(_ plan: ConversionPlan) throws -> [ShardPlan.Shard] {
  try #require(plan.output as? SafetensorsOutput).plan.shards
}
