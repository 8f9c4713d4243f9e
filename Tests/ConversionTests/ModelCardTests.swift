import Checkpoints
import Conversion
import Foundation
import GGUFFormat
import Support
import Testing

@Suite("What a README says, in a GGUF")
struct ModelCardTests {
  @Test func aGGUFCarriesIt() throws {
    let model = try ModelFolder()
    try Data("---\nlicense: mit\nbase_model:\n- a/b\n- c\n---\n".utf8).write(to: model.file("README.md"))
    let options = ConversionOptions(layout: .gguf)
    let plan = try ConversionPlan(Checkpoint(path: model.path), output: model.beside("x.gguf"), options: options)
    #expect(plan.warnings.isEmpty)
    let run = try ConversionRun(plan)
    let check = try SelfCheck(run)
    try ConversionRecord(run, check, verification: nil).publish(replacing: false)
    let file = try GGUFFile(path: model.beside("x.gguf"))
    #expect(file.metadata["general.license"] == GGUFValue("mit"))
    #expect(file.metadata["general.base_model.count"] == .uint32(2))
    #expect(file.metadata["general.base_model.0.organization"] == GGUFValue("a"))
    #expect(file.metadata["general.base_model.1.name"] == GGUFValue("c"))
    #expect(file.metadata["general.base_model.1.organization"] == nil)

    try Data("---\nlicense: \"mit\n---\n".utf8).write(to: model.file("README.md"))
    let bad = try ConversionPlan(Checkpoint(path: model.path), output: model.beside("y.gguf"), options: options)
    #expect(bad.warnings.count == 1 && bad.warnings[0].contains("README.md"))
  }
}
